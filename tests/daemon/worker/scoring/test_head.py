"""Hidden states to log-probabilities, and their gradients, against float64 numpy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from prefd.daemon.worker.scoring import fused_head
from prefd.daemon.worker.scoring.head import (
    SLICE_LOGITS,
    Differentiated,
    Head,
    Share,
    differentiate_now,
    logprobs_lazily,
    logprobs_now,
)
from prefd.daemon.worker.scoring.trunk import find_parts
from support import tiny_architectures
from support.array_memory import count_held_bytes

N, D, V = 70, 8, 50


def linear(weight: mx.array, trained: bool, slice_logits: int = SLICE_LOGITS) -> Head:
    """A head that is one linear map. With 1 for `slice_logits`, slices have 32 rows, and the last one is short."""
    return Head(
        lambda hidden: hidden @ weight.T,
        V,
        lambda: {"weight": weight} if trained else {},
        lambda parameters: lambda hidden: hidden @ parameters["weight"].T,
        slice_logits=slice_logits,
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


def lazily(head: Head, hidden: mx.array, targets: mx.array, share: Share) -> Differentiated:
    """`differentiate_now`, by the lazy graph."""
    names, parameters = list(head.trained()), list(head.trained().values())

    def of(arguments: list[mx.array], states: mx.array) -> Any:
        bound = dict(zip(names, arguments))
        return share(logprobs_lazily(replace(head, trained=lambda: bound), states, targets, gradients=True))

    shared, (by_parameter, by_hidden) = mx.value_and_grad(of, argnums=(0, 1))(parameters, hidden)
    return Differentiated(shared, by_hidden, dict(zip(names, by_parameter)))


@pytest.mark.parametrize("way", [lazily, differentiate_now])
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("slice_logits", [1, SLICE_LOGITS])
def test_values_and_gradients_are_float64s(trained: bool, slice_logits: int, way: Any) -> None:
    hidden, weight, targets, cotangent = arrays()
    linear_head = linear(mx.array(weight.astype(np.float32)), trained, slice_logits)
    states, wanted = mx.array(hidden.astype(np.float32)), mx.array(targets.astype(np.int32))
    values, by_hidden, by_weight = exact(hidden, weight, targets, cotangent)

    def share(scored: mx.array) -> tuple[mx.array, mx.array]:
        return (scored * mx.array(cotangent.astype(np.float32))).sum(), scored

    (total, scored), slopes, by_parameter = way(linear_head, states, wanted, share)
    assert total.item() == pytest.approx((values * cotangent).sum(), rel=1e-5)
    np.testing.assert_allclose(np.array(scored), values, atol=1e-5)
    np.testing.assert_allclose(np.array(slopes), by_hidden, atol=1e-5)
    assert list(by_parameter) == (["weight"] if trained else [])
    if trained:
        np.testing.assert_allclose(np.array(by_parameter["weight"]), by_weight, atol=1e-5)


@pytest.mark.parametrize("trained", [False, True])
def test_gradients_do_not_change_a_bit_of_the_values(trained: bool) -> None:
    hidden, weight, targets, _ = arrays()
    head = linear(mx.array(weight.astype(np.float32)), trained)
    states, wanted = mx.array(hidden.astype(np.float32)), mx.array(targets.astype(np.int32))
    for way, plain in (
        (lazily, logprobs_lazily(head, states, wanted, gradients=False)),
        (differentiate_now, logprobs_now(head, states, wanted)),
    ):
        (_, scored), *_ = way(head, states, wanted, lambda values: (values.sum(), values))
        assert np.array(plain).tobytes() == np.array(scored).tobytes()


def test_no_more_than_a_slice_of_logits_is_there_at_once() -> None:
    """The peak does not grow with the tokens: neither scores nor gradients keep logits."""
    states = mx.random.normal((8 * 512, 64))
    weight, wanted = mx.random.normal((4096, 64)), mx.random.randint(0, 4096, (8 * 512,))
    head = Head(lambda hidden: hidden @ weight.T, 2**24 // 512, dict, lambda _: lambda hidden: hidden)
    mx.eval(states, weight, wanted)
    peaks = []
    for rows in (512, 4096):
        mx.clear_cache()
        before = count_held_bytes()
        mx.reset_peak_memory()
        out = differentiate_now(head, states[:rows], wanted[:rows], lambda values: (values.sum(), None))
        mx.eval(out.by_hidden)
        peaks.append(mx.get_peak_memory() - before)
        del out
    assert peaks[1] < 1.5 * peaks[0]


def test_the_logits_of_a_model_are_there_once() -> None:
    parts = next(find_parts(tiny_architectures.build("llama")))
    states = mx.random.normal((4096, 32))
    mx.eval(states, parts.model.parameters())
    before = count_held_bytes()
    mx.reset_peak_memory()
    logits = parts.logits(states)
    mx.eval(logits)
    assert mx.get_peak_memory() - before < 1.5 * logits.nbytes


@pytest.mark.parametrize("way", [lazily, differentiate_now])
def test_a_certain_token_is_never_above_zero(way: Any) -> None:
    weight = mx.array(np.eye(V, dtype=np.float32) * 100)
    head = Head(lambda hidden: hidden @ weight, V, dict, lambda _: lambda hidden: hidden)
    (_, scored), *_ = way(head, mx.eye(V), mx.arange(V), lambda values: (values.sum(), values))
    assert float(scored.max()) <= 0


@pytest.mark.parametrize("trained", [False, True])
def test_a_fused_kernel_gives_the_same_numbers_and_gradients(trained: bool) -> None:
    """MLX's own is exact for a vocabulary this small on a CPU too."""
    hidden, weight, targets, cotangent = (mx.array(each) for each in arrays())
    plain = linear(weight.astype(mx.float32), trained)
    assert fused_head.is_exact(V)

    def share(values: mx.array) -> tuple[mx.array, mx.array]:
        return (values * cotangent.astype(mx.float32)).sum(), values

    expected, actual = (
        lazily(each, hidden.astype(mx.float32), targets, share) for each in (plain, replace(plain, fused=True))
    )
    np.testing.assert_allclose(actual.share[1], expected.share[1], atol=2e-6)
    np.testing.assert_allclose(actual.by_hidden, expected.by_hidden, atol=1e-5)
    assert actual.by_parameter.keys() == expected.by_parameter.keys()
    for name, gradient in actual.by_parameter.items():
        np.testing.assert_allclose(gradient, expected.by_parameter[name], atol=1e-5)


def test_a_kernel_that_is_not_exact_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_head, "measure_error", lambda _: 1e-4)
    assert not fused_head.is_exact(V + 1)

    def refuse(_: int) -> float:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(fused_head, "measure_error", refuse)
    assert not fused_head.is_exact(V + 2)


@pytest.mark.parametrize("way", [lazily, differentiate_now])
@pytest.mark.parametrize("trained", [False, True])
def test_what_is_measured_of_each_distribution_is_float64s_and_changes_no_value_or_gradient(
    trained: bool, way: Any
) -> None:
    hidden, weight, targets, cotangent = arrays()
    plain = linear(mx.array(weight.astype(np.float32)), trained, slice_logits=1)
    measured = replace(plain, measured=True)
    states, wanted = mx.array(hidden.astype(np.float32)), mx.array(targets.astype(np.int32))
    logits = hidden @ weight.T
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    expected = np.stack([-(p * np.log(p)).sum(-1), logits.mean(-1), np.log((p**2).sum(-1))], axis=-1)

    def share(scored: mx.array) -> tuple[mx.array, mx.array]:
        values = scored if scored.ndim == 1 else scored[:, 0]
        return (values * mx.array(cotangent.astype(np.float32))).sum(), scored

    (_, one), slopes, by_parameter = way(plain, states, wanted, share)
    (_, four), measured_slopes, measured_by_parameter = way(measured, states, wanted, share)
    np.testing.assert_allclose(np.array(four)[:, 1:], expected, rtol=1e-5, atol=1e-5)
    assert mx.array_equal(four[:, 0], one)
    assert mx.array_equal(measured_slopes, slopes)
    assert all(mx.array_equal(measured_by_parameter[name], by_parameter[name]) for name in by_parameter)
    alone = (
        logprobs_now(measured, states, wanted)
        if way is differentiate_now
        else logprobs_lazily(measured, states, wanted, False)
    )
    assert mx.array_equal(alone, four)
