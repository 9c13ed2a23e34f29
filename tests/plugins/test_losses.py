"""The built-in losses against float64 numpy: values, gradients, rewards, and their limits at policy = reference."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefd.plugins.manager import load_plugins
from prefd.plugins.types import Logprobs, LossInput
from support.loss_numbers import Array, Numbers, Tokens, assert_equals_float64, total

LOSSES = load_plugins().losses
EIGHT = ["sigmoid", "hinge", "ipo", "dpop", "cpo", "cpo_hinge", "cpo_ipo", "cpo_dpop"]
BUILT_IN = [*EIGHT, "simpo", "sft"]


def expected(name: str, n: Numbers, tokens: Tokens, beta: float, delta: float, normalize: bool) -> Array:
    """The formulas of the README's table, written out from the tokens in float64."""
    free = name.startswith("cpo")
    policy_chosen, policy_rejected = (total(tokens["p" + s], n.mask[s], normalize) for s in "cr")
    ref_chosen, ref_rejected = (total(tokens["f" + s], n.mask[s], normalize) for s in "cr")
    z = policy_chosen - policy_rejected - (0 if free else ref_chosen - ref_rejected)
    log_sigmoid = -np.logaddexp(0, -beta * z)
    shape = name.removeprefix("cpo_")
    if shape in ("sigmoid", "cpo"):
        return -log_sigmoid
    if shape == "hinge":
        return np.maximum(0, 1 - beta * z)
    if shape == "ipo":
        return (z - 1 / (2 * beta)) ** 2
    drop = policy_rejected - policy_chosen if free else ref_chosen - policy_chosen
    return -log_sigmoid + delta * np.maximum(0, drop)


def params_of(name: str, beta: float, delta: float, normalize: bool) -> dict[str, Any]:
    wanted = {"beta": beta, "delta": delta, "length_normalize": normalize}
    return {field: wanted[field] for field in LOSSES[name].schema.params if field in wanted}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("name", "normalize"), [*((name, False) for name in EIGHT), ("ipo", True), ("cpo_ipo", True)])
def test_values_and_gradients_equal_float64(name: str, normalize: bool, seed: int) -> None:
    beta, delta = [0.1, 0.05, 0.5, 1.0, 0.01][seed], [50.0, 10.0, 1.0, 5.0, 0.0][seed]
    n = Numbers(seed)
    loss = LOSSES[name].create(params_of(name, beta, delta, normalize))
    assert_equals_float64(loss, n, lambda tokens: expected(name, n, tokens, beta, delta, normalize))


def log_sigmoid(x: Array) -> Array:
    return -np.logaddexp(0, -x)


@pytest.mark.parametrize("name", ["sigmoid", "cpo"])
def test_label_smoothing_mixes_in_the_other_order(name: str) -> None:
    n, beta, e = Numbers(0), 0.3, 0.15

    def by_hand(tokens: Tokens) -> Array:
        z = total(tokens["pc"], n.mask["c"]) - total(tokens["pr"], n.mask["r"])
        if name == "sigmoid":
            z -= total(tokens["fc"], n.mask["c"]) - total(tokens["fr"], n.mask["r"])
        return -(1 - e) * log_sigmoid(beta * z) - e * log_sigmoid(-beta * z)

    assert_equals_float64(LOSSES[name].create({"beta": beta, "label_smoothing": e}), n, by_hand)


@pytest.mark.parametrize("name", ["cpo", "cpo_hinge", "cpo_ipo", "cpo_dpop"])
def test_nll_weight_adds_the_chosen_answers_nll_a_token(name: str) -> None:
    n = Numbers(1)

    def by_hand(tokens: Tokens) -> Array:
        plain = expected(name, n, tokens, 0.1, 50.0, normalize=name == "cpo_ipo")
        return plain - 0.7 * total(tokens["pc"], n.mask["c"], normalize=True)

    assert_equals_float64(LOSSES[name].create({"nll_weight": 0.7}), n, by_hand)


@pytest.mark.parametrize("e", [0.0, 0.2])
def test_simpo_is_the_logistic_loss_of_mean_logps_beyond_gamma(e: float) -> None:
    n, beta, gamma = Numbers(2), 2.5, 1.2

    def by_hand(tokens: Tokens) -> Array:
        chosen, rejected = (total(tokens["p" + side], n.mask[side], normalize=True) for side in "cr")
        margin = beta * chosen - beta * rejected - gamma
        return -(1 - e) * log_sigmoid(margin) - e * log_sigmoid(-margin)

    loss = LOSSES["simpo"].create({"beta": beta, "gamma": gamma, "label_smoothing": e})
    assert_equals_float64(loss, n, by_hand)
    out = loss(n.batch())
    for side, rewards in zip("cr", (out.chosen_rewards, out.rejected_rewards)):
        by_token = total(n.tokens["p" + side], n.mask[side], normalize=True)
        np.testing.assert_allclose(np.array(rewards), beta * by_token, rtol=1e-5)


def test_sft_is_the_chosen_answers_nll_a_token() -> None:
    n = Numbers(3)
    loss = LOSSES["sft"].create({})
    assert_equals_float64(loss, n, lambda tokens: -total(tokens["pc"], n.mask["c"], normalize=True))
    rejected = total(n.tokens["pr"], n.mask["r"], normalize=True)
    np.testing.assert_allclose(np.array(loss(n.batch()).rejected_rewards), rejected, rtol=1e-5)


@pytest.mark.parametrize("name", BUILT_IN)
def test_label_smoothing_and_nll_weight_are_taken_where_they_are_defined_and_off_by_default(name: str) -> None:
    params = LOSSES[name].schema.params
    assert ("label_smoothing" in params) is (name in ("sigmoid", "cpo", "simpo"))
    assert ("nll_weight" in params) is (name == "simpo" or name.startswith("cpo"))
    assert all(params[each]["default"] == 0 for each in ("label_smoothing", "nll_weight") if each in params)


@pytest.mark.parametrize("name", ["sigmoid", "cpo"])
def test_gradients_keep_their_digits_at_large_margins(name: str) -> None:
    margins = np.array([-80.0, -20.0, -7.0, 0.0, 7.0, 12.0, 20.0, 60.0])
    loss, mask = LOSSES[name].create({"beta": 1.0}), mx.ones((len(margins), 1))

    def total(chosen: mx.array) -> mx.array:
        nothing = Logprobs(mx.zeros_like(mask), mask)
        return loss(LossInput(Logprobs(chosen, mask), nothing, nothing, nothing)).losses.sum()

    gradient = np.array(mx.grad(total)(mx.array(margins[:, None].astype(np.float32))))[:, 0]
    np.testing.assert_allclose(gradient, -1 / (1 + np.exp(margins)), rtol=1e-5)


@pytest.mark.parametrize("name", EIGHT)
def test_reward_margin_is_beta_times_z_and_carries_no_gradient(name: str) -> None:
    n, beta = Numbers(7), 0.3
    loss = LOSSES[name].create({"beta": beta})
    out = loss(n.batch())
    normalize = name.endswith("ipo")
    z = total(n.tokens["pc"], n.mask["c"], normalize) - total(n.tokens["pr"], n.mask["r"], normalize)
    if not name.startswith("cpo"):
        z -= total(n.tokens["fc"], n.mask["c"], normalize) - total(n.tokens["fr"], n.mask["r"], normalize)
    np.testing.assert_allclose(np.array(out.chosen_rewards - out.rejected_rewards), beta * z, rtol=1e-4, atol=1e-5)
    rewards = mx.grad(lambda t: loss(n.batch(t, t)).chosen_rewards.sum())(n.side("pc").tokens)
    assert not np.array(rewards).any()


@pytest.mark.parametrize(
    ("name", "value"),
    [("sigmoid", math.log(2)), ("dpop", math.log(2)), ("hinge", 1.0), ("ipo", 1 / (4 * 0.1**2))],
)
def test_loss_where_policy_equals_reference(name: str, value: float) -> None:
    n = Numbers(3)
    x = n.batch()
    same = LossInput(x.policy_chosen, x.policy_rejected, x.policy_chosen, x.policy_rejected)
    np.testing.assert_allclose(np.array(LOSSES[name].create({})(same).losses), value, rtol=1e-6)


def one_token(chosen_log_ratio: float, noise: float) -> LossInput:
    """A pair of one-token answers, the rejected one as likely as under the reference."""
    side = [Logprobs(mx.array([[value]]), mx.ones((1, 1))) for value in (-2.0 + chosen_log_ratio, -1.0, -2.0, -1.0)]
    return LossInput(*side, noise=noise)


@pytest.mark.parametrize(("log_ratio", "penalty"), [(-1e-3, 0.0), (-2.1e-3, 50 * 2.1e-3), (1e-3, 0.0), (-1.0, 50.0)])
def test_dpop_punishes_a_chosen_answer_that_lost_more_than_rounding_and_that_in_full(
    log_ratio: float, penalty: float
) -> None:
    """Within a noise of 2e-3 nats nothing, beyond it δ times all of the loss."""
    value = np.array(LOSSES["dpop"].create({})(one_token(log_ratio, noise=2e-3)).losses)[0]
    assert value == pytest.approx(math.log1p(math.exp(-0.1 * log_ratio)) + penalty, rel=1e-4)


@pytest.mark.parametrize(("slack", "value"), [(3e-3, 0.0), (5e-3, 5e-4), (-1e-3, 0.0)])
def test_hinge_is_0_within_rounding_of_its_corner(slack: float, value: float) -> None:
    """The corner is at z = 1/β = 10; a noise of 2e-3 nats on each side makes 4e-3 of z."""
    loss_value = np.array(LOSSES["hinge"].create({})(one_token(10.0 - slack, noise=2e-3)).losses)[0]
    assert loss_value == pytest.approx(value, rel=2e-3)


def test_hinge_trains_from_its_start_whatever_the_noise() -> None:
    """Much noise and a large β would put the start itself within rounding of the corner: nothing would be trained."""
    loss = LOSSES["hinge"].create({"beta": 0.5})
    x = one_token(0.0, noise=3.0)

    def total(tokens: mx.array) -> mx.array:
        policy = x.policy_chosen._replace(tokens=tokens)
        return loss(
            LossInput(policy, x.policy_rejected, x.reference_chosen, x.reference_rejected, x.noise)
        ).losses.sum()

    assert total(x.policy_chosen.tokens).item() == 1.0
    assert mx.grad(total)(x.policy_chosen.tokens).tolist() == [[-0.5]]


def test_noise_grows_with_the_root_of_an_answers_tokens() -> None:
    x = LossInput(
        *(Logprobs(mx.zeros((2, 9)), mx.array([[1.0] * 9, [1.0] * 4 + [0.0] * 5])) for _ in range(4)), noise=0.5
    )
    assert np.array(x.chosen_noise).tolist() == np.array(x.rejected_noise).tolist() == [1.5, 1.0]


@pytest.mark.parametrize("name", BUILT_IN)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([1e-3, 1.0, 30.0]), pad=st.integers(1, 9))
def test_more_padding_and_other_neighbours_change_nothing(name: str, seed: int, scale: float, pad: int) -> None:
    n = Numbers(seed, scale=scale)
    loss = LOSSES[name].create({})
    whole = np.array(loss(n.batch()).losses)
    assert np.isfinite(whole).all()
    for name_ in n.tokens:
        n.tokens[name_] = np.pad(n.tokens[name_][:1], ((0, 0), (0, pad)))
    n.mask = {side: np.pad(mask[:1], ((0, 0), (0, pad))) for side, mask in n.mask.items()}
    np.testing.assert_allclose(np.array(loss(n.batch()).losses), whole[:1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["sigmoid", "hinge", "ipo", "dpop"])
def test_a_loss_with_a_reference_says_when_there_is_none(name: str) -> None:
    x = Numbers(0).batch()
    with pytest.raises(ValueError, match="the batch has none"):
        LOSSES[name].create({})(LossInput(x.policy_chosen, x.policy_rejected))


@pytest.mark.parametrize("name", EIGHT)
def test_docstrings_say_what_a_user_must_choose(name: str) -> None:
    doc = LOSSES[name].schema.doc
    assert "larger β" in doc
    assert "et al. 20" in doc  # the source of the formula
    assert ("start at 0.05" in doc or "noisy" in doc) or not name.startswith("cpo")
