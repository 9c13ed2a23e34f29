"""log Σ exp against float64 numpy, as it is computed on a CPU and in MLX's own operations."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from prefd.daemon.worker.scoring.logsumexp import logsumexp, logsumexp_now

Way = Callable[[mx.array], mx.array]


def now(logits: mx.array) -> mx.array:
    return mx.array(logsumexp_now(np.array(logits)))


WAYS = pytest.mark.parametrize("way", [logsumexp, now])


@WAYS
@pytest.mark.parametrize("vocab", [1, 7, 256, 257, 49152, 50257])
def test_it_is_right_to_1e5_over_any_vocabulary(vocab: int, way: Way) -> None:
    logits = np.random.default_rng(0).normal(0, 4, (16, vocab)).astype(np.float32)
    exact = np.log(np.exp(logits.astype(np.float64)).sum(-1))
    np.testing.assert_allclose(np.array(way(mx.array(logits))), exact, atol=1e-5)


@WAYS
def test_it_has_no_bias_over_a_whole_vocabulary(way: Way) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (64, 49152)).astype(np.float32)
    exact = np.log(np.exp(logits.astype(np.float64)).sum(-1))
    assert abs((np.array(way(mx.array(logits))) - exact).mean()) < 1e-6  # mx.logsumexp: 9e-5


@WAYS
def test_huge_logits_give_finite_numbers(way: Way) -> None:
    assert np.array(way(mx.array([[3e38, -3e38, 0.0], [-3e38, -3e38, -3e38]]))).tolist() == pytest.approx([3e38, -3e38])


@WAYS
def test_a_logit_that_is_no_number_is_not_hidden(way: Way) -> None:
    assert np.isnan(np.array(way(mx.array([[0.0, float("nan")]])))).all()


def test_its_gradient_and_the_softmax_beside_it_are_float64s() -> None:
    random = np.random.default_rng(0)
    logits, cotangent = random.normal(0, 4, (5, 300)), random.normal(size=5)
    exact = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    values, weights = logits.astype(np.float32), mx.array(cotangent.astype(np.float32))
    gradient = mx.grad(lambda x: (logsumexp(x) * weights).sum())(mx.array(values))
    np.testing.assert_allclose(np.array(gradient), exact * cotangent[:, None], atol=1e-6)
    softmax = np.empty_like(values)
    logsumexp_now(values, softmax)
    np.testing.assert_allclose(softmax, exact, atol=1e-6)
