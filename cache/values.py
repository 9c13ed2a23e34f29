"""What may enter the store: one finite log-probability a token, none above zero, under a key of 32 bytes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt


class InvalidLogprobs(ValueError):
    """Values that cannot be log-probabilities; `key` names the completion they were given for."""

    def __init__(self, key: bytes, reason: str) -> None:
        super().__init__(f"completion {key.hex()[:16]}: {reason}")
        self.key = key


def checked(entries: Mapping[bytes, npt.NDArray[np.float32]]) -> dict[bytes, npt.NDArray[np.float32]]:
    """`entries` as (length,) little-endian float32. Raises `InvalidLogprobs` naming the first that cannot be one."""
    values = {key: np.ascontiguousarray(value, dtype="<f4") for key, value in entries.items()}
    together = np.concatenate([value.reshape(-1) for value in values.values()])
    shaped = all(value.ndim == 1 and value.size > 0 for value in values.values())
    if not shaped or not (together.max() <= 0 and together.min() > -np.inf):  # both are nan if one value is
        for key, value in values.items():
            check_logprobs(key, value)
    for key in values:
        if len(key) != 32:
            raise InvalidLogprobs(key, f"a key has 32 bytes, this one has {len(key)}")
    return values


def check_logprobs(key: bytes, value: npt.NDArray[np.float32]) -> None:
    """Refuse what cannot be the log-probabilities of a completion's tokens. Raises `InvalidLogprobs`."""
    if value.ndim != 1 or len(value) == 0:
        raise InvalidLogprobs(key, f"expected one log-probability a token, got shape {value.shape}")
    if not np.isfinite(value).all():
        raise InvalidLogprobs(key, f"log-probability of token {int(np.argmin(np.isfinite(value)))} is not finite")
    if (value > 0).any():
        raise InvalidLogprobs(key, f"log-probability of token {int(np.argmax(value > 0))} is above 0: {value.max()}")
