"""Metrics: means over pairs whatever the batches were, what a plugin may not log, and the file that a kill cuts short."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.training.metrics import Mean, sum_pair_metrics
from prefd.plugins.manager import load_plugins
from prefd.plugins.metrics import OF_PAIRS, TRAINERS_METRICS
from prefd.plugins.types import Logprobs, LossInput, LossOutput
from support.loss_numbers import Numbers, total

SIGMOID = load_plugins().losses["sigmoid"].create({"beta": 0.3})


def rows(x: LossInput, begin: int, end: int) -> LossInput:
    sides = (x.policy_chosen, x.policy_rejected, x.reference_chosen, x.reference_rejected)
    return LossInput(*(side and Logprobs(side.tokens[begin:end], side.mask[begin:end]) for side in sides))  # type: ignore[arg-type]


def test_the_mean_over_unequal_batches_is_that_over_all_pairs() -> None:
    n = Numbers(0, pairs=6)
    mean = Mean()
    for begin, end in ((0, 4), (4, 5), (5, 6)):
        x = rows(n.batch(), begin, end)
        mean.add(sum_pair_metrics(x, SIGMOID(x)))
    means = mean.means("eval_")
    ratios = [total(n.tokens["p" + side] - n.tokens["f" + side], n.mask[side]) for side in "cr"]
    margins = 0.3 * (ratios[0] - ratios[1])
    expected = {
        "eval_loss": np.logaddexp(0, -margins).mean(),
        "eval_rewards/chosen": 0.3 * ratios[0].mean(),
        "eval_rewards/rejected": 0.3 * ratios[1].mean(),
        "eval_rewards/margins": margins.mean(),
        "eval_rewards/accuracies": (margins > 0).mean(),
        "eval_logps/chosen": total(n.tokens["pc"], n.mask["c"]).mean(),
        "eval_logps/rejected": total(n.tokens["pr"], n.mask["r"]).mean(),
    }
    assert means.keys() == {f"eval_{each.name}" for each in OF_PAIRS} >= expected.keys()
    for name, value in expected.items():
        assert means[name] == pytest.approx(value, rel=1e-5), name
    assert {name.removeprefix("eval_") for name in means} <= TRAINERS_METRICS


def test_a_tie_is_no_accuracy() -> None:
    x = Numbers(0, pairs=2).batch()
    same = LossInput(x.policy_chosen, x.policy_rejected, x.policy_chosen, x.policy_rejected)
    assert sum_pair_metrics(same, SIGMOID(same))["rewards/accuracies"].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"losses": mx.array(1.0)},
            r"the loss gave 'loss' as shape \(\) for 6 pairs, expected \(6,\); .*`prefd check-loss",
        ),
        ({"rejected_rewards": mx.zeros((6, 1))}, r"gave 'rewards/rejected' as shape \(6, 1\)"),
        ({"metrics": {"kl": 0.5}}, r"gave 'kl' as float for 6 pairs"),
        ({"metrics": {"grad_norm": mx.zeros(6)}}, r"brings a metric 'grad_norm', which is the trainer's own"),
    ],
)
def test_what_a_plugins_loss_may_not_give_is_told(change: dict[str, Any], message: str) -> None:
    x = Numbers(0, pairs=6).batch()
    out: LossOutput = replace(SIGMOID(x), **change)
    with pytest.raises(JobError, match=message):
        sum_pair_metrics(x, out)


def test_a_metric_that_is_not_a_number_stays_one() -> None:
    x = Numbers(0, pairs=2).batch()
    out = replace(SIGMOID(x), metrics={"odd": mx.array([math.nan, 1.0])})
    assert math.isnan(sum_pair_metrics(x, out)["odd"].tolist()[0])  # type: ignore[index]
