"""Losses of single answers: against float64, against TRL's own numbers, and what an unpaired loss may not give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import mlx.core as mx
import numpy as np
import pytest

from prefd.plugins.conformance import assert_conforms, check_loss
from prefd.plugins.manager import load_plugins
from prefd.plugins.types import LossInput, UnpairedInput, UnpairedOutput, declare
from prefd.plugins.unpaired import NoUnpairedOutput, adapt
from support.loss_numbers import Array, Numbers, Tokens, numeric_gradient, total
from support.trl_numbers import TABLE, assert_equals_trl

LOSSES = load_plugins().losses
LABELS = np.array([True, False, True, True, False, False])


def batch(n: Numbers, *policy: mx.array) -> LossInput:
    x = n.batch(*policy)
    return LossInput(
        x.policy_chosen, x.policy_rejected, x.reference_chosen, x.reference_rejected, desirable=mx.array(LABELS)
    )


def ratios(n: Numbers, tokens: Tokens) -> tuple[Array, Array]:
    answers, mismatched = (total(tokens["p" + side] - tokens["f" + side], n.mask[side]) for side in "cr")
    return answers, mismatched


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def kto(n: Numbers, tokens: Tokens, kl: float) -> Array:
    """Eq. 8 of the paper, with weights 1 and 1.5."""
    answers, _ = ratios(n, tokens)
    good, bad = 1 - sigmoid(0.3 * (answers - kl)), 1 - sigmoid(0.3 * (kl - answers))
    return np.where(LABELS, good, 1.5 * bad)


def bco(n: Numbers, tokens: Tokens, delta: float) -> Array:
    rewards = 0.3 * ratios(n, tokens)[0]
    return np.where(LABELS, np.logaddexp(0, delta - rewards), 1.5 * np.logaddexp(0, rewards - delta))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ["kto", "bco"])
def test_values_and_gradients_equal_float64_with_the_shift_held_constant(name: str, seed: int) -> None:
    n = Numbers(seed)
    answers, mismatched = ratios(n, n.tokens)
    rewards = 0.3 * answers
    shift = {"kto": max(mismatched.mean(), 0), "bco": (rewards[LABELS].mean() + rewards[~LABELS].mean()) / 2}[name]
    loss = LOSSES[name].create({"beta": 0.3, "undesirable_weight": 1.5})
    by_hand = {"kto": kto, "bco": bco}[name]
    out = loss(batch(n))
    np.testing.assert_allclose(np.array(out.losses), by_hand(n, n.tokens, shift), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.array(out.chosen_rewards), rewards, rtol=1e-5, atol=1e-6)
    gradient, of_mismatched = mx.grad(lambda *policy: loss(batch(n, *policy)).losses.mean(), argnums=(0, 1))(
        n.side("pc").tokens, n.side("pr").tokens
    )
    expected = numeric_gradient(
        lambda moved: float(by_hand(n, {**n.tokens, "pc": moved}, shift).mean()), n.tokens["pc"]
    )
    np.testing.assert_allclose(np.array(gradient), expected, atol=1e-6)
    assert not np.array(of_mismatched).any()


def test_kl_is_never_below_0() -> None:
    n = Numbers(0)
    n.tokens["fr"] = n.tokens["pr"] + 1.0 * n.mask["r"]  # the policy finds them less likely
    assert LOSSES["kto"].create({})(batch(n)).metrics["kl"].tolist() == [0.0] * 6


def test_kto_equals_trls_own_trainer() -> None:
    entry = TABLE["losses"]["kto"]
    loss = LOSSES["kto"].create(entry["settings"])
    assert entry["kl"] > 0
    assert_equals_trl("kto", loss)


@pytest.mark.parametrize("name", ["kto", "bco"])
def test_an_unpaired_loss_conforms_and_says_what_it_needs(name: str) -> None:
    assert_conforms(LOSSES[name].loss, name)
    assert (LOSSES[name].schema.unpaired, LOSSES[name].schema.batch_independent) == (True, False)


@dataclass(frozen=True)
class LeaksReward:
    """Lets a gradient through its rewards."""

    beta: float = 0.1
    unpaired: ClassVar[bool] = True

    def __call__(self, x: UnpairedInput) -> UnpairedOutput:
        assert x.reference is not None
        rewards = self.beta * (x.policy.sums - x.reference.sums)
        return UnpairedOutput(mx.logaddexp(mx.where(x.desirable, -rewards, rewards), 0), rewards)


@declare(unpaired=True)
def one_number(x: UnpairedInput) -> Any:
    """Gives a number in place of an output."""
    return x.policy.sums.mean()


def test_the_kit_finds_faults_of_unpaired_losses_too() -> None:
    results = {each.check: each for each in check_loss(LeaksReward, "leaks")}
    assert results["gradient"].result == "ok"
    assert results["batch"].result == "ok"
    assert "a gradient flows through chosen_rewards" in results["rewards"].detail
    (fault,) = (each for each in check_loss(one_number, "one") if each.result == "failed")
    assert "must return an UnpairedOutput" in fault.detail


def test_a_batch_of_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="the batch has pairs"):
        LOSSES["kto"].create({})(Numbers(0).batch())
    with pytest.raises(NoUnpairedOutput, match="it returned nothing"):
        adapt(lambda x: None)(batch(Numbers(0)))  # type: ignore[arg-type, return-value]
