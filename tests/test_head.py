"""Hidden states to log-probabilities, and their gradients, against float64 numpy."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from prefd.daemon.worker.engine import head
from prefd.daemon.worker.engine.head import Head, logsumexp, token_logprobs

N, D, V = 70, 8, 50


@pytest.mark.parametrize("vocab", [7, 256, 257, 49152, 50257])
def test_logsumexp_is_right_to_1e5_over_any_vocabulary(vocab: int) -> None:
    logits = np.random.default_rng(0).normal(0, 4, (16, vocab)).astype(np.float32)
    exact = np.log(np.exp(logits.astype(np.float64)).sum(-1))
    np.testing.assert_allclose(np.array(logsumexp(mx.array(logits))), exact, atol=1e-5)


def test_logsumexp_of_huge_logits_is_finite() -> None:
    assert np.array(logsumexp(mx.array([[3e38, -3e38, 0.0], [-3e38, -3e38, -3e38]]))).tolist() == pytest.approx(
        [3e38, -3e38]
    )


def linear(weight: mx.array, trained: bool) -> Head:
    return Head(
        lambda hidden: hidden @ weight.T,
        V,
        lambda: {"weight": weight} if trained else {},
        lambda parameters: lambda hidden: hidden @ parameters["weight"].T,
    )


def arrays() -> tuple[Any, Any, Any, Any]:
    random = np.random.default_rng(0)
    return random.normal(size=(N, D)), random.normal(size=(V, D)), random.integers(0, V, N), random.normal(size=N)


def exact(hidden: Any, weight: Any, targets: Any, cotangent: Any) -> tuple[Any, Any, Any]:
    """log p, and the gradients of Σ cotangent · log p in `hidden` and `weight`, in float64."""
    logits = hidden @ weight.T
    top = logits.max(-1, keepdims=True)
    total = np.exp(logits - top).sum(-1, keepdims=True)
    slopes = np.eye(V)[targets] - np.exp(logits - top) / total
    slopes *= cotangent[:, None]
    return logits[np.arange(N), targets] - (top + np.log(total)).squeeze(-1), slopes @ weight, slopes.T @ hidden


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("slice_logits", [1, 2**24])
def test_values_and_gradients_are_float64s(trained: bool, slice_logits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "SLICE_LOGITS", slice_logits)  # 1: slices of 32 rows, the last one short
    hidden, weight, targets, cotangent = arrays()
    wanted = mx.array(targets.astype(np.int32))

    def total(states: mx.array, matrix: mx.array) -> mx.array:
        values = token_logprobs(linear(matrix, trained), states, wanted, gradients=True)
        return (values * mx.array(cotangent.astype(np.float32))).sum()

    given = mx.array(hidden.astype(np.float32)), mx.array(weight.astype(np.float32))
    values, by_hidden, by_weight = exact(hidden, weight, targets, cotangent)
    slopes = mx.grad(total, argnums=(0, 1) if trained else 0)(*given)
    found = slopes if trained else (slopes,)
    for gradients in (False, True):
        scored = token_logprobs(linear(given[1], trained), given[0], wanted, gradients)
        np.testing.assert_allclose(np.array(scored), values, atol=1e-5)
    np.testing.assert_allclose(np.array(found[0]), by_hidden, atol=1e-5)
    if trained:
        np.testing.assert_allclose(np.array(found[1]), by_weight, atol=1e-5)


def test_gradients_do_not_change_a_bit_of_the_values() -> None:
    hidden, weight, targets, _ = arrays()
    made = linear(mx.array(weight.astype(np.float32)), trained=False)
    states, wanted = mx.array(hidden.astype(np.float32)), mx.array(targets.astype(np.int32))
    plain, with_gradients = (token_logprobs(made, states, wanted, gradients) for gradients in (False, True))
    assert np.array(plain).tobytes() == np.array(with_gradients).tobytes()


def test_a_certain_token_is_never_above_zero() -> None:
    weight = mx.array(np.eye(V, dtype=np.float32) * 100)
    made = Head(lambda hidden: hidden @ weight, V, dict, lambda _: lambda hidden: hidden)
    scored = token_logprobs(made, mx.eye(V), mx.arange(V), gradients=True)
    assert float(scored.max()) <= 0
