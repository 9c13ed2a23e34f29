"""Labels that the other pairs would have the other way round, in data made with known faults."""

from __future__ import annotations

import numpy as np
import pytest

from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.xray.neighbours import rank_margins
from prefd.daemon.worker.xray.pair_features import PairFeatures
from prefd.daemon.worker.xray.predictability import fit_bradley_terry, predict_labels
from prefd.daemon.worker.xray.repeats import find_contradictions, find_duplicates

GOOD, BAD = 7, 8
"""Tokens that stand in better and in worse answers."""


def make_side(prompt: int, tokens: list[int]) -> Completion:
    return Completion(np.array([1, prompt, *tokens], np.uint32), 2)


def make_pairs(count: int = 200, flips: int = 10, marks: bool = True) -> tuple[PairFeatures, set[int]]:
    """Pairs whose better answer has a token of its own, some of them the wrong way round; and which those are."""
    random = np.random.default_rng(0)
    flipped = set(random.choice(count, flips, replace=False).tolist())
    examples, scores = [], []
    for index in range(count):
        sides = [
            make_side(1000 + index, [mark if marks else 9, *random.integers(20, 60, random.integers(5, 15)).tolist()])
            for mark in (GOOD, BAD)
        ]
        chosen, rejected = sides[::-1] if index in flipped else sides
        examples.append(Example(index + 1, chosen, rejected))
        scores.append(tuple(np.full(len(side) - 2, -2.0, np.float32) for side in (chosen, rejected)))
    return PairFeatures.measure(examples, scores), flipped  # type: ignore[arg-type]  # mypy: a tuple of two


def test_turned_labels_are_found_first() -> None:
    pairs, flipped = make_pairs()
    predictions = predict_labels(pairs)
    assert predictions is not None
    assert set(np.argsort(predictions.logits)[: len(flipped)].tolist()) == flipped
    assert predictions.accuracy == pytest.approx(1 - len(flipped) / 200)


def test_labels_that_follow_nothing_are_not_predicted() -> None:
    predictions = predict_labels(make_pairs(400, flips=200, marks=False)[0])
    assert predictions is not None
    assert predictions.accuracy == pytest.approx(0.5, abs=0.1)


def test_few_pairs_teach_nothing() -> None:
    assert predict_labels(make_pairs(30, 2)[0]) is None


def test_a_pairs_own_label_says_nothing_of_it() -> None:
    """Turning one pair round turns its logit round: what judges it was learnt of others, but for a trace in their counts."""
    pairs, _ = make_pairs(100, 0)
    example = pairs.examples[3]
    turned = [*pairs.examples]
    turned[3] = Example(example.row, example.rejected, example.chosen)
    other = PairFeatures(turned, np.where(np.arange(100)[:, None] == 3, pairs.sums[:, ::-1], pairs.sums))
    before, after = predict_labels(pairs), predict_labels(other)
    assert before is not None
    assert after is not None
    assert after.logits[3] == pytest.approx(-before.logits[3], rel=0.3)


def test_bradley_terry_is_the_ridge_optimum() -> None:
    """At the optimum Σ σ(−w·d) d = ridge · w."""
    differences = np.random.default_rng(1).normal(0.3, 1, (50, 3))
    weights = fit_bradley_terry(differences, ridge=2.0)
    doubt = 1 / (1 + np.exp(differences @ weights))
    assert differences.T @ doubt == pytest.approx(2.0 * weights, abs=1e-6)


def test_a_margin_is_ranked_among_pairs_of_such_lengths() -> None:
    """A long answer's margin is low for its length; only the one that is low among its like stands out."""
    random = np.random.default_rng(2)
    lengths = random.integers(5, 100, 300)
    lengths[17] = 10  # a short one, whose margin is low only among the short ones
    sums = np.stack([-2.0 * lengths + random.normal(0, 1, 300), np.full(300, -20.0)], axis=1)
    sums[17, 0] -= 30
    sums[23] = np.nan
    examples = [Example(n + 1, make_side(n, [9] * int(lengths[n])), make_side(n, [9] * 10)) for n in range(300)]
    ranks = rank_margins(PairFeatures(examples, sums))
    assert (ranks.rank[17], ranks.of[17]) == (1, 50)
    assert int(np.nanargmin(ranks.deviation)) == 17
    assert int(np.nanargmin(sums[:, 0])) != 17
    assert (ranks.rank[23], np.isnan(ranks.deviation[23])) == (0, True)


def test_only_tokens_that_count_are_summed() -> None:
    side = make_side(1, [4, 5, 6])
    masked = Completion(side.ids, side.start, own_mask=np.array([True, False, True]))
    scores = np.array([-1.0, -10.0, -2.0], np.float32)
    pairs = PairFeatures.measure([Example(1, masked, side)], [(scores, scores)])
    assert pairs.sums.tolist() == [[-3.0, -13.0]]
    assert pairs.lengths.tolist() == [[2.0, 3.0]]


def test_repeats_and_contradictions_are_told_apart() -> None:
    one, two, three = (make_side(1, [token]) for token in (4, 5, 6))
    examples = [Example(n, *sides) for n, sides in enumerate([(one, two), (two, three), (one, two), (two, one)], 1)]
    pairs = PairFeatures(examples, np.zeros((4, 2)))
    assert find_duplicates(pairs) == [(2, 0)]
    assert find_contradictions(pairs) == [(0, 3), (3, 0), (2, 3)]
