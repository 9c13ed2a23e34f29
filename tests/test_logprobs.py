"""The scoring function against full logits in float64, whatever the padding, lengths and neighbours."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx_lm
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx import nn

from prefd.daemon.worker.logprobs import completion_logprobs, group_by_length, logsumexp
from prefd.daemon.worker.tokens import Completion

Array = npt.NDArray[np.float64]


def completion(length: int, start: int, seed: int = 0, vocab: int = 300) -> Completion:
    return Completion(np.random.default_rng(seed).integers(3, vocab, length).astype(np.uint32), start)


def naive(model: nn.Module, one: Completion) -> Array:
    """(length - start,) Each token's log-probability from the full logits of the sequence alone, in float64."""
    logits = np.array(model(mx.array(one.ids[None].astype(np.int32)))[0].astype(mx.float32)).astype(np.float64)
    top = logits.max(-1, keepdims=True)
    logprobs = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
    places = np.arange(one.start - 1, len(one.ids) - 1)
    return np.asarray(logprobs[places, one.ids[one.start :]])


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> nn.Module:
    return mlx_lm.load(str(tiny_model))[0]


@settings(max_examples=25, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(2, 90), st.floats(0.01, 0.99)), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
)
def test_equals_full_logits_in_float64(model: nn.Module, shapes: list[tuple[int, float]], seed: int) -> None:
    batch = [completion(length, max(1, int(length * share)), seed + row) for row, (length, share) in enumerate(shapes)]
    scored = completion_logprobs(model, batch)
    tokens, mask = np.array(scored.tokens), np.array(scored.mask)
    assert tokens.shape == mask.shape == (len(batch), max(len(one.ids) - one.start for one in batch))
    for row, one in enumerate(batch):
        size = len(one.ids) - one.start
        np.testing.assert_allclose(tokens[row, :size], naive(model, one), atol=2e-5)
        assert mask[row].tolist() == [1.0] * size + [0.0] * (mask.shape[1] - size)
        assert not tokens[row, size:].any()


def assert_independent_of_neighbours(model: nn.Module, batch: list[Completion], tolerance: float) -> None:
    together = np.array(completion_logprobs(model, batch).tokens)
    for row, one in enumerate(batch):
        alone = np.array(completion_logprobs(model, [one]).tokens)[0]
        np.testing.assert_allclose(together[row, : len(alone)], alone, rtol=0, atol=tolerance)
    backwards = np.array(completion_logprobs(model, batch[::-1]).tokens)[::-1]
    np.testing.assert_allclose(backwards, together, rtol=0, atol=tolerance)


def test_neighbours_change_nothing_but_rounding(model: nn.Module) -> None:
    batch = [completion(length, 5, length) for length in (9, 33, 64, 65, 70, 31, 12)]
    assert_independent_of_neighbours(model, batch, tolerance=2e-6)


@pytest.mark.smol
def test_neighbours_change_no_bit_of_a_real_model_on_cpu(smol_model: Path) -> None:
    if mx.default_device() != mx.cpu:
        pytest.skip("bit equality is promised on CPU")
    batch = [completion(length, 5, length, vocab=49152) for length in (9, 33, 64, 31, 420)]
    assert_independent_of_neighbours(mlx_lm.load(str(smol_model))[0], batch, tolerance=0)


def test_gradients_equal_those_of_full_logits(model: nn.Module) -> None:
    batch = [completion(40, 10, 1), completion(21, 3, 2)]

    def ours() -> mx.array:
        return completion_logprobs(model, batch).sums.sum()

    def full() -> mx.array:
        total = mx.array(0.0)
        for one in batch:
            logits = model(mx.array(one.ids[None].astype(np.int32)))[0, one.start - 1 : -1]
            targets = mx.array(one.ids[one.start :].astype(np.int32))
            total = total - nn.losses.cross_entropy(logits, targets, reduction="sum")
        return total

    mine, theirs = (dict(nn.utils.tree_flatten(nn.value_and_grad(model, f)()[1])) for f in (ours, full))
    for name, gradient in theirs.items():
        scale = float(mx.abs(gradient).max())
        np.testing.assert_allclose(np.array(mine[name]) / scale, np.array(gradient) / scale, atol=1e-5)


@pytest.mark.parametrize("vocab", [7, 256, 257, 49152, 50257])
def test_logsumexp_is_right_to_1e5_over_any_vocabulary(vocab: int) -> None:
    logits = np.random.default_rng(0).normal(0, 4, (16, vocab)).astype(np.float32)
    exact = np.log(np.exp(logits.astype(np.float64)).sum(-1))
    np.testing.assert_allclose(np.array(logsumexp(mx.array(logits))), exact, atol=1e-5)


def test_groups_hold_one_padded_length_and_every_row() -> None:
    batch = [completion(length, 1) for length in (31, 32, 33, 64, 2)]
    groups, order = group_by_length(batch)
    assert [group.tokens.shape for group in groups] == [(3, 32), (2, 64)]
    assert order == [0, 1, 4, 2, 3]
    assert sum(len(group.targets) for group in groups) == sum(len(one.ids) - 1 for one in batch)
