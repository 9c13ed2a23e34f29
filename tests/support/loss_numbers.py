"""What the tests of losses share: random batches in float64 and as a loss takes them, and differences to hold them to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from prefd.plugins.types import Logprobs, LossInput, LossOutput

Array = npt.NDArray[np.float64]
Tokens = Mapping[str, Array]
"""(B, T) by who (policy `p`, frozen reference `f`) and side (`c`, `r`)."""


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


def total(x: Array, mask: Array, normalize: bool = False) -> Array:
    sums: Array = (x * mask).sum(-1)
    return sums / mask.sum(-1) if normalize else sums


def numeric_gradient(f: Callable[[Array], float], x: Array, step: float = 1e-6) -> Array:
    """Central differences in float64."""
    gradient = np.zeros_like(x)
    for position in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[position] += step
        down[position] -= step
        gradient[position] = (f(up) - f(down)) / (2 * step)
    return gradient


def assert_equals_float64(
    loss: Callable[[LossInput], LossOutput],
    n: Numbers,
    expected: Callable[[Tokens], Array],
    gradient_of: Callable[[Tokens], Array] | None = None,
) -> None:
    """Values of `loss`, and its gradient by both sides' tokens, against `expected` (B,) and its differences.

    `gradient_of` is given where the gradient is meant to be that of another function.
    """

    def mean(chosen: mx.array, rejected: mx.array) -> mx.array:
        return loss(n.batch(chosen, rejected)).losses.mean()

    np.testing.assert_allclose(np.array(loss(n.batch()).losses), expected(n.tokens), rtol=1e-5, atol=2e-6)
    differentiated = gradient_of or expected
    gradients = mx.grad(mean, argnums=(0, 1))(n.side("pc").tokens, n.side("pr").tokens)
    for side, gradient in zip("cr", gradients):

        def moved(x: Array, side: str = side) -> float:
            return float(differentiated({**n.tokens, "p" + side: x}).mean())

        by_hand = numeric_gradient(moved, n.tokens["p" + side])
        scale = max(np.abs(by_hand).max(), 1e-12)
        np.testing.assert_allclose(np.array(gradient) / scale, by_hand / scale, atol=1e-5)
