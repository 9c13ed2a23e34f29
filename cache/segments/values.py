"""Checks what enters the store: one finite log-probability a token, none above zero, under a key of 32 bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class InvalidLogprobs(ValueError):
    """InvalidLogprobs is raised for values that cannot be the log-probabilities of the completion `key`."""

    def __init__(self, key: bytes, reason: str) -> None:
        super().__init__(f"completion {key.hex()[:16]}: {reason}")
        self.key = key


class FlatEntries(NamedTuple):
    """FlatEntries holds entries in order of key, as a segment does."""

    keys: list[bytes]
    offsets: npt.NDArray[np.int64]
    """(n + 1,): where the log-probabilities of each begin, and where the last ones end."""
    logprobs: npt.NDArray[np.float32]
    """(T,): those of all completions, one behind the other."""


def flatten_entries(entries: Mapping[bytes, npt.NDArray[np.float32]]) -> FlatEntries:
    """Sorts and checks `entries`, at least one. Raises `InvalidLogprobs` for the first bad one."""
    keys = sorted(entries)
    values = [np.asarray(entries[key], dtype="<f4") for key in keys]
    for key in keys:
        if len(key) != 32:
            raise InvalidLogprobs(key, f"a key has 32 bytes, this one has {len(key)}")
    logprobs = np.concatenate([value.reshape(-1) for value in values])
    one_dimensional = all(value.ndim == 1 and value.size > 0 for value in values)
    if not one_dimensional or not (logprobs.max() <= 0 and logprobs.min() > -np.inf):  # both are nan if one value is
        for key, value in zip(keys, values):
            check_logprobs(key, value)
    return FlatEntries(keys, np.cumsum([0, *map(len, values)], dtype="<i8"), logprobs)


def check_logprobs(key: bytes, value: npt.NDArray[np.float32]) -> None:
    """Refuses what cannot be the log-probabilities of a completion's tokens. Raises `InvalidLogprobs`."""
    if value.ndim != 1 or len(value) == 0:
        raise InvalidLogprobs(key, f"expected one log-probability a token, got shape {value.shape}")
    if not np.isfinite(value).all():
        raise InvalidLogprobs(key, f"log-probability of token {int(np.argmin(np.isfinite(value)))} is not finite")
    if (value > 0).any():
        raise InvalidLogprobs(key, f"log-probability of token {int(np.argmax(value > 0))} is above 0: {value.max()}")
