"""Decides whether two scores of one completion agree, by how far apart rounding may put them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from prefd.cache.segments.segment import Segment

TOLERANCE = {"float32": 1e-3, "float16": 5e-2, "bfloat16": 2.5e-1}
"""Compute dtype → how many nats two scores of one completion may differ by, on average over its tokens.

Half precision's own rounding is a fifth of it on average over many answers, and twice that in a short one; another model's
scores are beyond.
"""
SINGLE_TOKEN = 10
"""How many times that they may differ by at one token."""


@dataclass(frozen=True)
class Disagreement:
    """Disagreement names two segments that hold different values for one completion. `segments[0]`, the lowest id, is the one believed."""

    key: bytes
    segments: tuple[str, str]
    nats: float
    """The largest difference of one token; infinite where the lengths differ."""

    def __str__(self) -> str:
        first, second = self.segments
        return f"completion {self.key.hex()[:16]}: segments {first} and {second} differ by {self.nats:.3g} nats"


def compare_entries(places: Sequence[tuple[Segment, int]], limit: float) -> Iterator[Disagreement]:
    """Compares each entry of a key with the first of `places`, which is believed; yields those beyond `limit`.

    All of them are whole.
    """
    for segment, row in places[1:]:
        first, believed = places[0]
        difference = measure_difference(first.read(believed), segment.read(row))
        if difference.exceeds(limit):
            yield Disagreement(segment.key(row), (first.id, segment.id), difference.largest)


@dataclass(frozen=True)
class Difference:
    """Difference says how far two scores of one completion differ, in nats a token; infinite where their lengths differ."""

    mean: float
    largest: float

    def exceeds(self, limit: float) -> bool:
        """Says whether it is more than rounding explains: on average, or at one token by far."""
        return not (self.mean <= limit and self.largest <= SINGLE_TOKEN * limit)


def measure_difference(mine: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> Difference:
    """Measures the difference of two (length,) scores."""
    if len(mine) != len(theirs):
        return Difference(np.inf, np.inf)
    nats = np.abs(mine - theirs)
    return Difference(float(nats.mean()), float(nats.max()))


def find_tolerance(identity: Mapping[str, Any]) -> float:
    """Finds the `TOLERANCE` of a reference's compute dtype; the strictest where that is unknown."""
    return TOLERANCE.get(str(identity.get("compute_dtype")), TOLERANCE["float32"])
