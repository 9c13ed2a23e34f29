"""What a sum says of the ranks that take part in it; the other rank is a stand-in."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import pytest

from prefd.daemon.worker.ranks import ring as rings
from prefd.daemon.worker.ranks.ring import LostRing, Ring, Stamp
from prefd.daemon.worker.ranks.ring_place import RingPlace

OWN = Stamp(5, 8, 3, 0xDEADBEEF)
OTHER = Stamp(5, 8, 5, 0xDEADBEEF)


def make_ring(monkeypatch: pytest.MonkeyPatch, other: Callable[[mx.array], mx.array], **place: object) -> Ring:
    """A ring of two, to whose sums `other` adds."""
    monkeypatch.setattr(rings.mx.distributed, "all_sum", lambda array, group, stream: array + other(array))
    return Ring(None, RingPlace(**{"rank": 1, "addresses": ((), ()), "nonce": ""} | place))  # type: ignore[arg-type]


def answering(stamp: Stamp) -> Callable[[mx.array], mx.array]:
    """What a rank sends that has `stamp`, and a gradient of ones."""
    return lambda array: mx.concatenate([rings._stamp_array(stamp), mx.ones(array.size - 5)])


def test_gradients_are_added_up_where_ranks_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = make_ring(monkeypatch, answering(OTHER))
    total = ring.sum({"a": mx.ones((2, 3)), "b": mx.zeros(1)}, OWN)
    assert total["a"].tolist() == [[2.0] * 3] * 2
    assert total["b"].tolist() == [1.0]
    assert not ring.has_drifted


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Stamp(6, 8, 5, 0xDEADBEEF), "the step of"),
        (Stamp(5, 9, 5, 0xDEADBEEF), "the number of pairs"),
        (Stamp(5, 8, 4, 0xDEADBEEF), "pairs that were shared out"),
        (Stamp(5, 8, 5, 0xDEADBEEE), "the weights of step 5"),
    ],
)
def test_ranks_that_do_not_agree_are_told_in_what(monkeypatch: pytest.MonkeyPatch, other: Stamp, words: str) -> None:
    with pytest.raises(LostRing, match=words):
        make_ring(monkeypatch, answering(other)).sum({"a": mx.ones(2)}, OWN)


def test_weights_may_drift_apart_on_several_machines_and_are_made_the_first_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ring = make_ring(monkeypatch, answering(Stamp(5, 8, 5, 1)), may_drift=True)
    ring.sum({"a": mx.ones(2)}, OWN)
    assert ring.has_drifted
    first = [("b", mx.array([1.5, -2.25], mx.bfloat16)), ("a", mx.array(7, mx.uint64))]
    bits = mx.concatenate([array.reshape(-1).view(mx.uint8) for _, array in sorted(first)])
    ring = make_ring(monkeypatch, lambda _: bits, may_drift=True)
    spread = dict(ring.spread([("b", mx.ones(2, mx.bfloat16)), ("a", mx.array(1, mx.uint64))]))
    assert spread["b"].dtype == mx.bfloat16
    assert spread["b"].tolist() == [1.5, -2.25]
    assert spread["a"].item() == 7
