"""What a sum says of the ranks that take part in it; the other rank is a stand-in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from prefd.daemon.worker.ranks import ring as rings
from prefd.daemon.worker.ranks.ring import LostRing, Ring, Stamp
from prefd.daemon.worker.ranks.ring_place import RingPlace

OWN = Stamp(5, 8, 3, 0xDEADBEEF)
OTHER = Stamp(5, 8, 5, 0xDEADBEEF)


def make_ring(monkeypatch: pytest.MonkeyPatch, other: Callable[[mx.array], mx.array], **place: object) -> Ring:
    """A ring of two, to whose sums `other` adds."""

    def add(array: mx.array, group: object, stream: object) -> mx.array:
        return mx.array(np.array(array) + np.array(other(array)))

    monkeypatch.setattr(rings.mx.distributed, "all_sum", add)
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


def test_a_sum_that_nobody_waits_for_any_longer_is_given_up_and_mlx_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    lost, never = threading.Event(), threading.Event()

    def wait(array: mx.array, group: object, stream: object) -> mx.array:
        lost.set()  # what notices it is another thread
        never.wait(60)
        return array

    monkeypatch.setattr(rings.mx.distributed, "all_sum", wait)
    ring = Ring(None, RingPlace(0, ((), ()), ""), lost)
    with pytest.raises(LostRing, match="a sum did not come"):
        ring.sum({"a": mx.ones(2)}, OWN)
    assert (mx.ones(3) * 2).tolist() == [2.0] * 3
    never.set()


def test_a_sum_in_a_thread_of_its_own_is_the_same_and_its_errors_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(array: mx.array, group: object, stream: object) -> mx.array:
        raise RuntimeError("[ring] connection to a peer was lost")

    gathered: list[Any] = []

    def double(array: mx.array, group: object, stream: object) -> mx.array:
        gathered.append(stream)
        return mx.add(array, array, stream=stream)

    monkeypatch.setattr(rings.mx.distributed, "all_sum", double)
    ring = Ring(None, RingPlace(0, ((), ()), "", may_drift=True), threading.Event())
    total = ring.sum({"a": mx.array([0.25, 3.0])}, Stamp(1, 2, 1, 9))
    assert total["a"].tolist() == [0.5, 6.0]
    assert gathered[0] != mx.default_stream(mx.cpu)
    monkeypatch.setattr(rings.mx.distributed, "all_sum", fail)
    with pytest.raises(LostRing, match="connection to a peer was lost"):
        ring.sum({"a": mx.ones(2)}, OWN)


@pytest.mark.parametrize(
    "other", [{"nonce": "another job's"}, {"rank": 1}, {"addresses": ((), (), ())}], ids=["job", "rank", "size"]
)
def test_a_rank_of_another_ring_is_refused_at_the_handshake(
    monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    hands: list[mx.array] = []

    def shake(place: dict[str, Any]) -> None:
        ring = Ring(None, RingPlace(**{"rank": 1, "addresses": ((), ()), "nonce": "this job's"} | place))
        ring._shake_hands()

    def keep(own: mx.array, group: object, stream: object) -> mx.array:
        hands.append(own)
        return own

    def gather(own: mx.array, group: object, stream: object) -> mx.array:
        return mx.concatenate([hands[-1], own])

    for first, expected in (({"rank": 0}, "welcome"), ({"rank": 0} | other, "refused")):
        monkeypatch.setattr(rings.mx.distributed, "all_gather", keep)
        with pytest.raises(LostRing):  # it has met itself alone
            shake(first)
        monkeypatch.setattr(rings.mx.distributed, "all_gather", gather)
        if expected == "welcome":
            shake({})
        else:
            with pytest.raises(LostRing, match="the ranks of another job are on the same ports"):
                shake({})
