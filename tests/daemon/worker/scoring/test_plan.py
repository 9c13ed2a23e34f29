"""What runs together: every answer token predicted once, prompts once, padding bounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring import plan
from prefd.daemon.worker.scoring.plan import EQUAL, Slack, Stem

shapes = st.lists(
    st.tuples(st.integers(1, 80), st.integers(1, 120), st.integers(0, 2)), min_size=1, max_size=12
)  # tokens of the prompt, of the answer, and which prompt of that length


def completions(picked: list[tuple[int, int, int]]) -> list[Completion]:
    sides = []
    for row, (prompt, answer, seed) in enumerate(picked):
        ids = [
            *np.random.default_rng(seed).integers(3, 90, prompt),
            *np.random.default_rng(row).integers(3, 90, answer),
        ]
        sides.append(Completion(np.array(ids, np.uint32), prompt))
    return sides


def predicted(stems: list[Stem], count: int) -> list[list[tuple[list[int], int]]]:
    """For each completion, what the plan predicts: (every token before, the token)."""
    predictions: list[list[tuple[list[int], int]]] = [[] for _ in range(count)]
    for stem in stems:
        for branch in stem.branches:
            for index, row in enumerate(branch.rows):
                before: list[int] = []
                if stem.tokens.size:
                    prefix = int(branch.stem_rows[index])
                    before = stem.tokens[prefix, stem.padding[prefix] :].tolist()
                for place, target in zip(branch.places.tolist(), branch.targets.tolist()):
                    if place // branch.tokens.shape[1] == index:
                        column = place % branch.tokens.shape[1]
                        predictions[row].append((before + branch.tokens[index, : column + 1].tolist(), target))
    return predictions


@given(
    shapes,
    st.sampled_from([EQUAL, plan.METAL, plan.CUDA, plan.CPU, *plan.SAME_BITS.values(), Slack(1.0), Slack(0.5, 20, 60)]),
)
def test_every_answer_token_is_predicted_once_from_all_before_it(
    picked: list[tuple[int, int, int]], slack: Slack
) -> None:
    batch = completions(picked)
    expected = [
        [(one.ids[:position].tolist(), int(one.ids[position])) for position in range(one.start, len(one.ids))]
        for one in batch
    ]
    for stems in (plan.plan_shared(batch, slack, slack), plan.plan_shared(batch, slack), plan.plan_apart(batch, slack)):
        assert predicted(stems, len(batch)) == expected


@given(shapes)
def test_without_slack_a_prompt_runs_once_and_only_equal_lengths_are_batched(
    picked: list[tuple[int, int, int]],
) -> None:
    batch = completions(picked)
    stems = plan.plan_shared(batch)
    assert not any(stem.padding.any() for stem in stems)
    assert sum(len(stem.tokens) for stem in stems) == len({one.ids[: one.start - 1].tobytes() for one in batch})
    for stem in stems:
        for branch in stem.branches:
            assert {plan.count_segment_tokens(batch[row]) for row in branch.rows} == {branch.tokens.shape[1]}
            assert branch.tokens.shape[1] % plan.MULTIPLE == 0
            assert branch.tokens.shape[1] >= plan.SHORTEST


@given(shapes, st.integers(0, 60), st.integers(8, 200))
def test_what_is_shorter_or_longer_than_the_slack_says_runs_alone(
    picked: list[tuple[int, int, int]], shortest: int, longest: int
) -> None:
    batch = completions(picked)
    slack = Slack(1.0, shortest, longest)
    for stem in plan.plan_shared(batch, slack, slack):
        for branch in stem.branches:
            reach = max(batch[row].start - 1 + plan.count_segment_tokens(batch[row]) for row in branch.rows)
            assert reach <= longest or len(branch.rows) == len(stem.tokens) == 1
        assert min(stem.tokens.shape[1] - stem.padding) >= shortest or len(stem.tokens) == 1
    for branch in plan.plan_apart(batch, slack)[0].branches:
        assert shortest <= branch.tokens.shape[1] <= longest or len(branch.rows) == 1


@given(shapes, st.floats(0.01, 1))
def test_slack_bounds_the_padding(picked: list[tuple[int, int, int]], slack: float) -> None:
    batch = completions(picked)
    for stem in plan.plan_shared(batch, Slack(slack), Slack(slack)):
        assert stem.tokens.size <= (1 + slack) * (stem.tokens.size - stem.padding.sum())
        for branch in stem.branches:
            assert branch.tokens.size <= (1 + slack) * sum(plan.count_segment_tokens(batch[row]) for row in branch.rows)


@given(shapes, st.integers(1, 600))
def test_batches_hold_everything_once_within_the_budget_and_prompts_together(
    picked: list[tuple[int, int, int]], budget: int
) -> None:
    batch = completions(picked)
    batches = plan.batch_completions(batch, budget)
    assert sorted(row for rows in batches for row in rows) == list(range(len(batch)))
    for rows in batches:
        prompts = {batch[row].ids[: batch[row].start - 1].tobytes(): batch[row].start - 1 for row in rows}
        tokens = sum(prompts.values()) + sum(plan.count_segment_tokens(batch[row]) for row in rows)
        assert len(rows) == 1 or tokens <= budget
    assert max(len(batch[row].ids) for row in batches[0]) == max(len(one.ids) for one in batch)
    families: dict[bytes, set[int]] = {}
    for row, one in enumerate(batch):
        families.setdefault(one.ids[: one.start - 1].tobytes(), set()).add(row)
    for family in families.values():
        whole = batch[min(family)].start - 1 + sum(plan.count_segment_tokens(batch[row]) for row in family)
        assert whole > budget or any(family <= set(rows) for rows in batches)


def test_a_prompt_of_one_token_has_nothing_to_share() -> None:
    (stem,) = plan.plan_shared([Completion(np.array([5, 6, 7], np.uint32), 1)])
    assert stem.tokens.size == 0
    assert stem.branches[0].tokens[0, :2].tolist() == [5, 6]


@pytest.mark.parametrize("slack", [EQUAL, plan.CPU, plan.METAL])
def test_padding_of_pairs_as_long_as_real_ones_is_below_a_tenth(slack: Slack) -> None:
    random = np.random.default_rng(0)
    batch = []
    for pair in range(64):  # prompts of about 50 tokens, chosen answers of about 515, rejected ones of about 170
        prompt = int(random.integers(30, 70))
        ids = np.random.default_rng(pair).integers(3, 90, prompt).astype(np.uint32)
        for mean in (515, 170):
            answer = random.integers(3, 90, max(8, int(random.normal(mean, mean / 4)))).astype(np.uint32)
            batch.append(Completion(np.concatenate([ids, answer]), prompt))
    used = needed_tokens = 0
    for rows in plan.batch_completions(batch, 4096):
        picked = [batch[row] for row in rows]
        for stem in plan.plan_shared(picked, slack, slack):
            used += stem.tokens.size + sum(branch.tokens.size for branch in stem.branches)
            needed_tokens += stem.tokens.size - int(stem.padding.sum())
        needed_tokens += sum(len(one.ids) - one.start for one in picked)
    assert used / needed_tokens < 1.1


@pytest.mark.parametrize(("slack", "widths"), [(plan.CUDA, [480, 640]), (plan.METAL, [480, 536])])
def test_long_segments_are_padded_to_what_cudnn_differentiates(slack: Slack, widths: list[int]):
    """An answer of 480 tokens is left alone; one of 531 is padded to a multiple of 128, and elsewhere of 8."""
    stems = [plan.plan_shared(completions([(9, answer, 0)]), slack, slack)[0] for answer in (480, 531)]
    assert [stem.branches[0].tokens.shape[1] for stem in stems] == widths
