"""What cannot be log-probabilities is refused, with the completion and the token that it is about."""

from __future__ import annotations

import numpy as np
import pytest

from prefd.cache.segments.values import InvalidLogprobs, check_logprobs, flatten_entries

GOOD, BAD = b"g" * 32, b"b" * 32


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([-1.0, np.nan], "token 1 is not finite"),
        ([-np.inf], "token 0 is not finite"),
        ([-1.0, 0.5], "token 1 is above 0: 0.5"),
        ([], r"got shape \(0,\)"),
        ([[-1.0]], r"got shape \(1, 1\)"),
        (-1.0, r"got shape \(\)"),
    ],
)
def test_what_cannot_be_a_logprob_is_refused_alone_and_among_others(value: object, reason: str) -> None:
    bad = np.array(value, dtype=np.float32)
    with pytest.raises(InvalidLogprobs, match=reason) as caught:
        flatten_entries({GOOD: np.float32([-1.0, -2.0]), BAD: bad})
    assert caught.value.key == BAD
    with pytest.raises(InvalidLogprobs, match=reason):
        check_logprobs(BAD, bad)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidLogprobs, match="a key has 32 bytes, this one has 31"):
        flatten_entries({GOOD: np.float32([-1.0]), b"k" * 31: np.float32([-1.0])})


def test_zero_is_a_log_probability_and_other_dtypes_become_float32() -> None:
    flat = flatten_entries({GOOD: np.array([0.0, -2.5])})
    assert flat.logprobs.dtype == np.float32
    np.testing.assert_array_equal(flat.logprobs, [0.0, -2.5])


def test_entries_lie_one_behind_the_other_in_order_of_key() -> None:
    flat = flatten_entries({GOOD: np.float32([-1.0, -2.0]), BAD: np.float32([-3.0])})
    assert flat.keys == [BAD, GOOD]
    np.testing.assert_array_equal(flat.offsets, [0, 1, 3])
    np.testing.assert_array_equal(flat.logprobs, [-3.0, -1.0, -2.0])
