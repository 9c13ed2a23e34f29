"""Ranks take batches from one board: none waits while another computes, and the batch of one that dies goes to another."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.ranks.frames import Array, Frame
from prefd.daemon.worker.ranks.mate import LostRank
from prefd.daemon.worker.reference.batch_board import BatchBoard
from prefd.daemon.worker.reference.scoring_batches import LEAST_HALF, Batch, halve_batch
from prefd.daemon.worker.reference.scoring_pass import Scores
from prefd.daemon.worker.reference.shared_scoring import SharedScoring
from support.scoring_mates import FakeMate, FakeReference, compute, until

LENGTH, START = 300, 100


def make_batches(count: int, rows: int = 1) -> list[Batch]:
    """Batches of answers to prompts of their own; their first token is a number of their own."""
    numbers = iter(range(count * rows))
    return [[make_entry(next(numbers)) for _ in range(rows)] for _ in range(count)]


def make_entry(number: int, length: int = LENGTH) -> tuple[bytes, Completion]:
    ids = np.full(length, number, np.uint32)
    return number.to_bytes(4, "big"), Completion(ids, START)


def share(mates: Sequence[FakeMate], own: FakeReference | None = None) -> SharedScoring:
    crew: Any = SimpleNamespace(mates=mates, size=len(mates) + 1)
    reference: Any = own or FakeReference()
    rows = {key: Example(row, each, each) for row, (key, each) in enumerate(map(make_entry, range(100)))}
    return SharedScoring(reference, crew, rows)


def score(shared: SharedScoring, batches: Sequence[Batch], stop: threading.Event | None = None) -> Scores:
    """All scores; none comes twice, and each is its completion's."""
    scores: Scores = {}
    with shared:
        for batch, values in shared.score(batches, lambda *_: None, stop or threading.Event()):
            assert {key for key, _ in batch} == values.keys()
            assert not scores.keys() & values.keys()
            scores |= values
            for key, completion in batch:
                assert np.array_equal(values[key], compute(completion))
    return scores


def count(batches: Sequence[Batch]) -> int:
    return sum(map(len, batches))


def test_another_rank_goes_on_to_its_next_batch_while_the_first_computes() -> None:
    mate = FakeMate(1)
    batches = make_batches(12)
    shared = share([mate], FakeReference(until(lambda: mate.batches == len(batches) - 1)))
    assert len(score(shared, batches)) == count(batches)
    assert shared.scored_by == {0: 1, 1: 11}
    assert shared.warnings == []


def test_more_is_taken_before_the_last_batches_are_given_out() -> None:
    chunks = [make_batches(12, rows=2)[begin : begin + 4] for begin in (4, 8)]
    shared = share([FakeMate(1)])
    batches = make_batches(4, rows=2)
    sizes: list[int] = []
    keys: list[bytes] = []
    left: list[int] = []

    def take_more() -> list[Batch]:
        left.append(len(shared._board._tasks))
        return chunks.pop(0) if chunks else []

    with shared:
        for batch, values in shared.score(batches, lambda *_: None, threading.Event(), take_more):
            sizes.append(len(batch))
            keys += values
    assert sorted(keys) == sorted(key for batch in make_batches(12, rows=2) for key, _ in batch)
    assert chunks == []
    assert left[0] > 1, "nobody had to wait for it"
    assert sizes[:4] == [2] * 4, "and no batch of the first chunk was halved"


def test_the_batch_of_a_rank_that_dies_goes_to_another_and_it_is_said() -> None:
    mate = FakeMate(1)
    mate.is_deadly = lambda _: mate.batches == 2
    batches = make_batches(30)
    shared = share([mate], FakeReference(until(lambda: mate.batches == 2)))
    assert len(score(shared, batches)) == count(batches)
    assert shared.scored_by == {0: 29, 1: 1}
    assert shared.warnings == ["rank 1 (pid 1) died of SIGKILL: the others have scored its part of the reference"]


@pytest.mark.parametrize(
    ("end", "error", "words"),
    [
        ("died of SIGKILL", JobError, "2 ranks have died of the same batch of the reference, of row"),
        ("failed: RuntimeError: [metal::malloc] Unable to allocate 9 bytes", LostRank, "Unable to allocate"),
    ],
)
def test_a_batch_that_two_ranks_die_of_is_named_by_its_rows_unless_it_may_be_halved(
    end: str, error: type[Exception], words: str
) -> None:
    second = FakeMate(2, lambda _: True, ready=False)
    second.end = end
    first = FakeMate(1, lambda _: second.get_ready() is None, ready=False)
    both_dead = until(lambda: bool(first.batches and second.batches))

    def keep_one_batch() -> None:
        first.get_ready()
        both_dead()

    with pytest.raises(error, match=words):
        score(share([first, second], FakeReference(keep_one_batch)), make_batches(2))


def test_ranks_that_were_dead_before_they_got_a_batch_have_not_died_of_it() -> None:
    mates = [FakeMate(rank) for rank in (1, 2, 3)]
    for mate in mates:
        mate.is_gone = True
    batches = make_batches(2)
    alone = FakeReference(until(lambda: bool(shared.scored_by) or shared._news.qsize() == 3))
    shared = share(mates, alone)
    assert len(score(shared, batches)) == count(batches)
    assert shared.scored_by == {0: 2}
    assert len(shared.warnings) == 3


def test_what_others_have_scored_is_there_when_the_first_fails() -> None:
    mate = FakeMate(1)
    batches = make_batches(12)

    def fail() -> None:
        until(lambda: shared._news.qsize() == len(batches) - 1)()
        raise RuntimeError("[metal::malloc] Unable to allocate 9 bytes")

    shared = share([mate], FakeReference(fail))
    with shared, pytest.raises(RuntimeError, match="Unable"):
        list(shared.score(batches, lambda *_: None, threading.Event()))
    assert sum(len(batch) for batch, _ in shared.take_answers()) == count(batches) - 1
    assert shared.scored_by == {1: count(batches) - 1}


def test_a_thread_that_still_waits_for_its_rank_does_not_hold_the_reference() -> None:
    mate, own = FakeMate(1, ready=False), FakeReference()
    gone = weakref.ref(own)
    shared = share([mate], own)
    assert len(score(shared, make_batches(2))) == 2
    del own, shared
    gc.collect()
    assert gone() is None
    mate.answers.put(None)


def test_each_batch_is_told_with_the_seconds_of_the_rank_that_computed_it() -> None:
    mate = FakeMate(1)
    runs: list[tuple[int, bool]] = []
    shared = share([mate], FakeReference(until(lambda: mate.batches == 11)))
    with shared:
        for _ in shared.score(
            make_batches(12), lambda _, seconds, rank: runs.append((rank, seconds == 5.0)), threading.Event()
        ):
            pass
    assert sorted(runs) == [(0, False), *[(1, True)] * 11]


@pytest.mark.parametrize(
    ("arrays", "error"), [([], "IndexError"), ([np.zeros(7, np.float32)], "ValueError: log-probabilities of shape")]
)
def test_an_answer_that_cannot_be_read_costs_the_rank_and_not_the_job(arrays: list[Array], error: str) -> None:
    mate = FakeMate(1)
    answered = threading.Event()

    def answer_nonsense(*_: object) -> None:
        mate.answers.put(Frame({"seconds": 5.0}, arrays))
        answered.set()

    mate.tell = answer_nonsense  # type: ignore[method-assign]
    batches = make_batches(40)
    shared = share([mate], FakeReference(until(answered.is_set)))
    assert len(score(shared, batches)) == count(batches)
    (warning,) = shared.warnings
    assert warning.startswith(f"rank 1 (pid 1) answered what cannot be read ({error}")


def test_a_stop_is_seen_while_another_rank_computes() -> None:
    mate = FakeMate(1)
    stop = threading.Event()
    mate.tell = lambda head, arrays: stop.set()  # type: ignore[method-assign]
    shared = share([mate], FakeReference(until(stop.is_set)))
    scores = score(shared, make_batches(4), stop)
    mate.answers.put(None)
    assert len(scores) <= 1


def test_the_last_batches_are_given_out_in_ever_smaller_parts() -> None:
    board = BatchBoard(2)
    board.add(make_batches(4, rows=8))
    sizes = []
    while (task := board.take()) is not None:
        sizes.append(len(task.batch))
    assert sum(sizes) == 32
    assert sizes[:2] == [8, 8]
    assert all(after <= before for before, after in pairwise(sizes[2:]))
    assert sizes[-1] <= 2


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(START + 1, 3 * LENGTH)), min_size=1, max_size=8),
)
def test_halves_are_the_batch_and_answers_to_one_prompt_stay_together(answers: list[tuple[int, int]]) -> None:
    batch = [
        (index.to_bytes(4, "big"), make_entry(prompt, length)[1])
        for index, (prompt, length) in enumerate(sorted(answers))
    ]
    halves = halve_batch(batch)
    if halves is None:
        return
    first, second = halves
    assert first + second == batch
    prompts = [{int(completion.ids[0]) for _, completion in half} for half in halves]
    assert not prompts[0] & prompts[1]
    assert min(sum(len(completion.ids) for _, completion in half) for half in halves) >= LEAST_HALF
