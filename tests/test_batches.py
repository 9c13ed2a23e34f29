"""Steps and micro-batches: every pair once an epoch, and nothing too large at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.worker.batches import Batching, tokens_of
from prefd.daemon.worker.tokens import Completion, Example


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
    made = Batching(count, tokens).split(examples)
    assert sorted(each.row for batch in made for each in batch) == [each.row for each in examples]
    for batch in made:
        assert len(batch) <= count
        assert len(batch) == 1 or sum(map(tokens_of, batch)) <= tokens
    assert tokens_of(made[0][0]) == max(map(tokens_of, examples))


@given(pairs, st.integers(1, 5))
def test_pairs_stay_as_they_come_for_a_loss_that_looks_across_its_batch(examples: list[Example], count: int) -> None:
    made = Batching(count, None).split(examples)
    assert [each.row for batch in made for each in batch] == [each.row for each in examples]
    assert [len(batch) for batch in made[:-1]] == [count] * (len(made) - 1)


def test_a_pair_costs_its_prompt_once_and_both_answers_padded() -> None:
    assert tokens_of(example(1, 33, 5)) == 10 + 64 + 32


@given(pairs, st.integers(1, 5), st.one_of(st.none(), st.integers(1, 2000)))
def test_no_micro_batch_has_more_tokens_than_is_planned_for(
    examples: list[Example], count: int, tokens: int | None
) -> None:
    batching = Batching(count, tokens)
    most = batching.most_tokens(examples)
    assert max(sum(map(tokens_of, batch)) for batch in batching.split(examples)) <= most
    assert most <= max(tokens or 0, count * max(map(tokens_of, examples)))
