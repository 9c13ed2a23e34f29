"""Several losses as one: their weighted sum, whose rewards are reported, and what each part adds to the metrics."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from prefd.plugins.manager import load_plugins
from prefd.plugins.mixture import Mixture, WeightedLoss
from prefd.plugins.types import LossInput, LossOutput
from support.loss_numbers import Array, Numbers, Tokens, assert_equals_float64, total

LOSSES = load_plugins().losses


def part(name: str, weight: float = 1.0, **params: float) -> WeightedLoss:
    loss_class = LOSSES[name]
    return WeightedLoss(name, weight, loss_class.create(params), loss_class.schema.preference)


def spread(x: LossInput) -> LossOutput:
    """A loss with a metric of its own."""
    out: LossOutput = LOSSES["hinge"].create({})(x)
    return LossOutput(out.losses, out.chosen_rewards, out.rejected_rewards, {"spread": out.losses * 2})


def test_value_and_gradient_are_the_weighted_sums_in_float64() -> None:
    n = Numbers(0)

    def by_hand(tokens: Tokens) -> Array:
        chosen, rejected = (total(tokens["p" + s] - tokens["f" + s], n.mask[s]) for s in "cr")
        sft = -total(tokens["pc"], n.mask["c"], normalize=True)
        return 0.5 * np.logaddexp(0, -0.3 * (chosen - rejected)) + 2.0 * sft

    assert_equals_float64(Mixture([part("sigmoid", 0.5, beta=0.3), part("sft", 2.0)]), n, by_hand)


def test_rewards_are_those_of_the_first_loss_that_compares_the_sides() -> None:
    x = Numbers(1).batch()
    out = Mixture([part("sft"), part("ipo", 0.1), part("cpo")])(x)
    assert mx.array_equal(out.chosen_rewards, part("ipo").loss(x).chosen_rewards)
    alone = Mixture([part("sft", 0.3)])(x)
    assert mx.array_equal(alone.rejected_rewards, part("sft").loss(x).rejected_rewards)


def test_each_parts_own_loss_and_metrics_are_kept_apart() -> None:
    x = Numbers(2).batch()
    own = WeightedLoss("spread", 1.0, spread, True)
    out = Mixture([part("sigmoid", 0.5), own, part("sigmoid", 1.0, beta=0.3)])(x)
    assert list(out.metrics) == ["loss/sigmoid", "spread/spread", "loss/spread", "loss/sigmoid:2"]
    assert mx.array_equal(out.metrics["loss/sigmoid"], part("sigmoid").loss(x).losses)
    assert mx.array_equal(out.metrics["loss/sigmoid:2"], part("sigmoid", beta=0.3).loss(x).losses)


def test_no_gradient_flows_through_the_parts_metrics() -> None:
    n = Numbers(3)
    mixed = Mixture([part("sigmoid"), part("sft")])
    moved = mx.grad(lambda tokens: mixed(n.batch(tokens, n.side("pr").tokens)).metrics["loss/sft"].sum())
    assert not np.array(moved(n.side("pc").tokens)).any()
