"""Ranks take batches from one board: none waits while another computes, and the batch of one that dies goes to another."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from prefd.daemon.worker.ranks.pairs import unpack_completions
from prefd.daemon.worker.reference.batch_board import BatchBoard
from prefd.daemon.worker.reference.scoring_batches import LEAST_HALF, Batch, halve_batch
from prefd.daemon.worker.reference.scoring_pass import Scores
from prefd.daemon.worker.reference.shared_scoring import SharedScoring

LENGTH, START = 300, 100
SECONDS = 20.0
"""Nothing here takes as long; what would wait for ever ends then."""


def make_batches(count: int, rows: int = 1) -> list[Batch]:
    """Batches of answers to prompts of their own; their first token is a number of their own."""
    numbers = iter(range(count * rows))
    return [[make_entry(next(numbers)) for _ in range(rows)] for _ in range(count)]


def make_entry(number: int, length: int = LENGTH) -> tuple[bytes, Completion]:
    ids = np.full(length, number, np.uint32)
    return number.to_bytes(4, "big"), Completion(ids, START)


def compute(completion: Completion) -> Array:
    """What a reference gives here: a number that tells whose it is, and where in it."""
    return -np.arange(len(completion.ids) - completion.start, dtype=np.float32) - float(completion.ids[0])


class FakeMate:
    """A rank that computes here when it is asked, and dies of the batches that `is_deadly` says."""

    def __init__(
        self, rank: int, is_deadly: Callable[[Completion], bool] = lambda _: False, ready: bool = True
    ) -> None:
        self.rank = rank
        self.name = f"rank {rank} (pid 1)"
        self.is_deadly = is_deadly
        self.answers: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self.batches = 0
        if ready:
            self.get_ready()

    def get_ready(self) -> None:
        self.answers.put(Frame({"ready": "whole"}))

    def tell(self, head: Mapping[str, Any], arrays: Sequence[Array]) -> None:
        assert head == {"do": "score"}
        completions = unpack_completions(list(arrays))
        self.batches += 1
        if any(map(self.is_deadly, completions)):
            self.answers.put(None)
        else:
            self.answers.put(Frame({}, [np.concatenate([compute(each) for each in completions])]))

    def hear(self) -> Frame:
        frame = self.answers.get(timeout=SECONDS)
        if frame is None:
            raise LostRank(f"{self.name} died of SIGKILL")
        return frame


class FakeReference:
    """The first rank's own reference; `before` is called with each batch that it scores."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.before = before

    def score(self, batches: Sequence[Batch]) -> Iterator[Scores]:
        self.before()
        return ({key: compute(completion) for key, completion in batch} for batch in batches)


def share(mates: Sequence[FakeMate], own: FakeReference | None = None) -> SharedScoring:
    crew: Any = SimpleNamespace(mates=mates, size=len(mates) + 1, cause="")
    reference: Any = own or FakeReference()
    rows = {key: Example(row, each, each) for row, (key, each) in enumerate(map(make_entry, range(100)))}
    return SharedScoring(reference, crew, rows)


def score(shared: SharedScoring, batches: Sequence[Batch], stop: threading.Event | None = None) -> Scores:
    """All scores; none comes twice, and each is its completion's."""
    scores: Scores = {}
    with shared:
        for batch, values in shared.score(batches, lambda _: None, stop or threading.Event()):
            assert {key for key, _ in batch} == values.keys()
            assert not scores.keys() & values.keys()
            scores |= values
            for key, completion in batch:
                assert np.array_equal(values[key], compute(completion))
    return scores


def count(batches: Sequence[Batch]) -> int:
    return sum(map(len, batches))


def until(condition: Callable[[], bool]) -> Callable[[], None]:
    """What waits until the condition holds."""

    def wait() -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.001)

    return wait


def test_another_rank_goes_on_to_its_next_batch_while_the_first_computes() -> None:
    mate = FakeMate(1)
    batches = make_batches(12)
    shared = share([mate], FakeReference(until(lambda: mate.batches == len(batches) - 1)))
    assert len(score(shared, batches)) == count(batches)
    assert shared.scored_by == {0: 1, 1: 11}
    assert shared.warnings == []


def test_the_batch_of_a_rank_that_dies_goes_to_another_and_it_is_said() -> None:
    mate = FakeMate(1)
    mate.is_deadly = lambda _: mate.batches == 2
    batches = make_batches(30)
    shared = share([mate], FakeReference(until(lambda: mate.batches == 2)))
    assert len(score(shared, batches)) == count(batches)
    assert shared.scored_by == {0: 29, 1: 1}
    assert shared.warnings == ["rank 1 (pid 1) died of SIGKILL: the others have scored its part of the reference"]


def test_a_batch_that_two_ranks_die_of_is_named_by_its_rows() -> None:
    second = FakeMate(2, lambda _: True, ready=False)
    first = FakeMate(1, lambda _: second.get_ready() is None, ready=False)
    both_dead = until(lambda: bool(first.batches and second.batches))

    def keep_one_batch() -> None:
        first.get_ready()
        both_dead()

    with pytest.raises(JobError, match="2 ranks have died of the same batch of the reference, of row"):
        score(share([first, second], FakeReference(keep_one_batch)), make_batches(2))


def test_an_answer_that_cannot_be_read_costs_the_rank_and_not_the_job() -> None:
    mate = FakeMate(1)
    answered = threading.Event()

    def answer_nonsense(head: Mapping[str, Any], arrays: Sequence[Array]) -> None:
        mate.answers.put(Frame({}, []))
        answered.set()

    mate.tell = answer_nonsense  # type: ignore[method-assign]
    batches = make_batches(40)
    shared = share([mate], FakeReference(until(answered.is_set)))
    assert len(score(shared, batches)) == count(batches)
    (warning,) = shared.warnings
    assert warning.startswith("rank 1 (pid 1) answered what cannot be read (IndexError")


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
