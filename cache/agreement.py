"""Whether two scores of one completion agree: how far apart rounding may put them, and what to say where it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from prefd.cache.segments.segment import Segment

TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}
"""Compute dtype → how far two scores of one completion may be apart, in nats, on average over its tokens."""
SINGLE_TOKEN = 10
"""At one token they may be as many times that apart."""


@dataclass(frozen=True)
class Disagreement:
    """Two segments that hold different values for one completion. `segments[0]`, the lowest id, is the one believed."""

    key: bytes
    segments: tuple[str, str]
    nats: float
    """The largest difference of one token; infinite where the lengths differ."""

    def __str__(self) -> str:
        first, second = self.segments
        return f"completion {self.key.hex()[:16]}: segments {first} and {second} differ by {self.nats:.3g} nats"


def differing(places: Sequence[tuple[Segment, int]], limit: float) -> Iterator[Disagreement]:
    """`places`: the whole entries of one key, the one that is believed first. Each other that is beyond `limit` from it."""
    for segment, row in places[1:]:
        first, believed = places[0]
        apart = differences(first.read(believed), segment.read(row))
        if apart.beyond(limit):
            yield Disagreement(segment.key(row), (first.id, segment.id), apart.largest)


@dataclass(frozen=True)
class Apart:
    """How far two scores of one completion are apart, in nats a token; infinitely where their lengths differ."""

    mean: float
    largest: float

    def beyond(self, limit: float) -> bool:
        """More than rounding explains: on average, or at one token by far."""
        return not (self.mean <= limit and self.largest <= SINGLE_TOKEN * limit)


def differences(mine: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> Apart:
    """Of two (length,) scores."""
    if len(mine) != len(theirs):
        return Apart(np.inf, np.inf)
    each = np.abs(mine - theirs)
    return Apart(float(each.mean()), float(each.max()))


def tolerance(identity: Mapping[str, Any]) -> float:
    """`TOLERANCE` of a reference's compute dtype; the strictest where that is unknown."""
    return TOLERANCE.get(str(identity.get("compute_dtype")), TOLERANCE["float32"])
