"""The eight losses against float64 numpy: values, gradients, rewards, and their limits at policy = reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefd.plugins.manager import load_plugins
from prefd.plugins.types import Logprobs, LossInput

Array = npt.NDArray[np.float64]
LOSSES = load_plugins().losses
EIGHT = ["sigmoid", "hinge", "ipo", "dpop", "cpo", "cpo_hinge", "cpo_ipo", "cpo_dpop"]


class Numbers:
    """Random per-token log-probabilities of one batch, in float64 and as a loss takes them."""

    def __init__(self, seed: int, pairs: int = 6, width: int = 12, scale: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        self.mask = {side: np.arange(width) < rng.integers(1, width + 1, (pairs, 1)) for side in ("c", "r")}
        self.tokens = {
            who + side: (-rng.gamma(1.0, scale, (pairs, width)) * self.mask[side]).astype(np.float32).astype(np.float64)
            for who in ("p", "f")
            for side in ("c", "r")
        }

    def side(self, name: str) -> Logprobs:
        return Logprobs(mx.array(self.tokens[name].astype(np.float32)), mx.array(self.mask[name[1]].astype(np.float32)))

    def batch(self, policy_chosen: mx.array | None = None, policy_rejected: mx.array | None = None) -> LossInput:
        chosen, rejected = self.side("pc"), self.side("pr")
        if policy_chosen is not None and policy_rejected is not None:
            chosen, rejected = chosen._replace(tokens=policy_chosen), rejected._replace(tokens=policy_rejected)
        return LossInput(chosen, rejected, self.side("fc"), self.side("fr"))


def total(x: Array, mask: Array, normalize: bool) -> Array:
    sums = (x * mask).sum(-1)
    return sums / mask.sum(-1) if normalize else sums


def expected(name: str, n: Numbers, tokens: dict[str, Array], beta: float, delta: float, normalize: bool) -> Array:
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
    return {field: wanted[field] for field in LOSSES[name].schema.params}


def numeric_gradient(f: Callable[[Array], float], x: Array, step: float = 1e-6) -> Array:
    """Central differences in float64."""
    gradient = np.zeros_like(x)
    for at in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[at] += step
        down[at] -= step
        gradient[at] = (f(up) - f(down)) / (2 * step)
    return gradient


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("name", "normalize"), [*((name, False) for name in EIGHT), ("ipo", True), ("cpo_ipo", True)])
def test_values_and_gradients_equal_float64(name: str, normalize: bool, seed: int) -> None:
    beta, delta = [0.1, 0.05, 0.5, 1.0, 0.01][seed], [50.0, 10.0, 1.0, 5.0, 0.0][seed]
    n = Numbers(seed)
    loss = LOSSES[name].create(params_of(name, beta, delta, normalize))

    def mean(chosen: mx.array, rejected: mx.array) -> mx.array:
        return loss(n.batch(chosen, rejected)).losses.mean()

    out = loss(n.batch())
    reference = expected(name, n, n.tokens, beta, delta, normalize)
    np.testing.assert_allclose(np.array(out.losses), reference, rtol=1e-5, atol=1e-7)

    gradients = mx.grad(mean, argnums=(0, 1))(n.side("pc").tokens, n.side("pr").tokens)
    for side, gradient in zip("cr", gradients):
        by_hand = numeric_gradient(
            lambda x, side=side: float(  # type: ignore[misc]
                expected(name, n, n.tokens | {"p" + side: x}, beta, delta, normalize).mean()
            ),
            n.tokens["p" + side],
        )
        scale = max(np.abs(by_hand).max(), 1e-12)
        np.testing.assert_allclose(np.array(gradient) / scale, by_hand / scale, atol=1e-5)


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


@pytest.mark.parametrize("name", EIGHT)
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
