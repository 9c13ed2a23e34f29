"""Steps and micro-batches: every pair once an epoch, and nothing too large at once."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.training.schedule import Batching, Schedule, count_tokens


def example(row: int, chosen: int, rejected: int) -> Example:
    sides = (Completion(np.full(10 + size, 5, np.uint32), 10) for size in (chosen, rejected))
    return Example(row, *sides)


pairs = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=12).map(
    lambda sizes: [example(row, *size) for row, size in enumerate(sizes, 1)]
)


@given(pairs, st.integers(1, 5), st.integers(1, 2000))
def test_micro_batches_hold_every_pair_once_within_both_limits(
    examples: list[Example], count: int, tokens: int
) -> None:
    batches = Batching(count, tokens).split(examples)
    assert sorted(each.row for batch in batches for each in batch) == [each.row for each in examples]
    for batch in batches:
        assert len(batch) <= count
        assert len(batch) == 1 or sum(map(count_tokens, batch)) <= tokens
    assert count_tokens(batches[0][0]) == max(map(count_tokens, examples))


@given(pairs, st.integers(1, 5))
def test_pairs_stay_as_they_come_for_a_loss_that_looks_across_its_batch(examples: list[Example], count: int) -> None:
    batches = Batching(count, None).split(examples)
    assert [each.row for batch in batches for each in batch] == [each.row for each in examples]
    assert [len(batch) for batch in batches[:-1]] == [count] * (len(batches) - 1)


@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_an_epoch_shows_every_pair_once_the_last_partial_batch_included(
    count: int, batch: int, accumulated: int, epochs: int, seed: int
) -> None:
    training = TrainingSpec(batch_size=batch, gradient_accumulation_steps=accumulated, epochs=float(epochs), seed=seed)
    schedule = Schedule.plan([example(row, 1, 1) for row in range(count)], training)
    a_step = batch * accumulated
    assert schedule.steps_per_epoch == math.ceil(count / a_step)
    assert schedule.total_steps == epochs * schedule.steps_per_epoch
    orders = []
    for epoch in range(epochs):
        steps = [
            schedule.pairs(epoch * schedule.steps_per_epoch + index + 1) for index in range(schedule.steps_per_epoch)
        ]
        assert [len(each) for each in steps[:-1]] == [a_step] * (len(steps) - 1)
        orders.append([pair.row for each in steps for pair in each])
        assert sorted(orders[-1]) == list(range(count))
    if count > 8:
        assert len({tuple(order) for order in orders}) == epochs, "each epoch has an order of its own"


def test_the_order_is_the_seeds_alone_and_unlike_the_rows() -> None:
    pairs = [example(row, 1, 1) for row in range(30)]

    def order(seed: int) -> list[int]:
        schedule = Schedule.plan(pairs, TrainingSpec(seed=seed))
        return [pair.row for step in range(schedule.total_steps, 0, -1) for pair in schedule.pairs(step)]

    assert order(1) == order(1) != order(2)
    assert order(1) != list(range(30))


def test_iters_go_on_into_the_next_epoch_and_a_part_of_one_is_at_least_a_step() -> None:
    pairs = [example(row, 1, 1) for row in range(6)]
    schedule = Schedule.plan(pairs, TrainingSpec(batch_size=4, iters=5))
    assert [len(schedule.pairs(step)) for step in range(1, 6)] == [4, 2, 4, 2, 4]
    assert [schedule.epoch(step) for step in (1, 2, 5)] == [0.5, 1.0, 2.5]
    assert Schedule.plan(pairs, TrainingSpec(batch_size=4, epochs=0.01)).total_steps == 1
    assert Schedule.plan(pairs, TrainingSpec(batch_size=4, epochs=1.5)).total_steps == 3


def test_a_pair_costs_its_prompt_once_and_both_answers_padded() -> None:
    assert count_tokens(example(1, 33, 5)) == 10 + 40 + 32


@given(pairs, st.integers(1, 5), st.one_of(st.none(), st.integers(1, 2000)))
def test_no_micro_batch_has_more_tokens_than_is_planned_for(
    examples: list[Example], count: int, tokens: int | None
) -> None:
    batching = Batching(count, tokens)
    most = batching.count_most_tokens(examples)
    assert max(sum(map(count_tokens, batch)) for batch in batching.split(examples)) <= most
    assert most <= max(tokens or 0, count * max(map(count_tokens, examples)))
