"""The scoring function against full logits in float64, whatever the padding, lengths and neighbours."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx import nn
from mlx_lm.tuner.utils import linear_to_lora_layers

from prefd.daemon.runs.batch_record import BatchSettings
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring import plan
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.plan import Slack
from prefd.daemon.worker.scoring.scorer import Options, Scorer
from prefd.plugins.types import Logprobs
from support.array_memory import count_held_bytes
from support.full_logits import completion, naive
from support.neighbours import neighbours_apart, with_siblings
from support.thinned import thin


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> nn.Module:
    return mlx_lm.load(str(tiny_model))[0]


WAYS = {
    "as on a CPU": Options(slack=plan.SAME_BITS["all"], lazily=False),
    "as on a CPU that rounds": Options(slack=Slack(0.25), lazily=False),
    "as on a GPU": Options(slack=Slack(1.0), lazily=True),
    "in pieces": Options(chunk_tokens=16),
    "layers recomputed": Options(checkpoint_layers=True),
    "all of it": Options(slack=Slack(0.3), chunk_tokens=7, checkpoint_layers=True),
    "all of it as one graph": Options(slack=Slack(0.3), lazily=True, chunk_tokens=7, checkpoint_layers=True),
}


@pytest.fixture(scope="module", params=thin(WAYS, ("as on a CPU", "as on a GPU", "all of it").__contains__))
def scorer(request: pytest.FixtureRequest, model: nn.Module) -> Scorer:
    new_scorer = fastest_scorer(model, WAYS[request.param])
    assert new_scorer.parts is not None
    assert new_scorer.shares_prompts
    return new_scorer


def test_a_reference_runs_as_the_spec_says_and_a_policy_as_was_chosen_for_the_memory() -> None:
    spec = JobSpec.model_validate(
        {
            "model": "m",
            "data": {"path": "d", "max_length": 600},
            "training": {"chunk_tokens": 512},
            "loss": {"name": "ipo"},
        }
    )
    assert Options.from_spec(spec) == Options(chunk_tokens=512, checkpoint_layers=False)
    assert Options.from_spec(spec, BatchSettings(64, True, 256)) == Options(chunk_tokens=256, checkpoint_layers=True)
    assert Options.from_spec(spec, BatchSettings(64, False, 600)).chunk_tokens is None, "nothing is longer than a chunk"


@settings(max_examples=5, deadline=None)  # of batches of up to eight, for each of seven ways
@given(
    shapes=st.lists(st.tuples(st.integers(2, 90), st.floats(0.01, 0.99)), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
)
def test_equals_full_logits_in_float64(scorer: Scorer, shapes: list[tuple[int, float]], seed: int) -> None:
    batch = [completion(length, max(1, int(length * share)), seed + row) for row, (length, share) in enumerate(shapes)]
    batch += [Completion(np.concatenate([one.prompt, one.prompt[:5]]), one.start) for one in batch[:2]]  # same prompts
    scored = scorer.logprobs(batch)
    tokens, mask = np.array(scored.tokens), np.array(scored.mask)
    assert tokens.shape == mask.shape == (len(batch), max(len(one.ids) - one.start for one in batch))
    for row, one in enumerate(batch):
        size = len(one.ids) - one.start
        np.testing.assert_allclose(tokens[row, :size], naive(scorer.model, one), atol=2e-5)
        assert mask[row].tolist() == [1.0] * size + [0.0] * (mask.shape[1] - size)
        assert not tokens[row, size:].any()
    (_, with_gradients), _ = scorer.value_and_grad(batch, lambda scored: (scored.sums.sum(), scored.tokens))
    assert np.array(with_gradients).tobytes() == tokens.tobytes()


def test_neighbours_change_nothing_but_rounding(model: nn.Module) -> None:
    assert neighbours_apart(fastest_scorer(model), with_siblings((9, 33, 64, 65, 70, 31, 12), 300)) < 2e-6


@pytest.mark.smol
@pytest.mark.thorough  # test_kernels.py has which plan keeps bits, the test above a tiny model
def test_neighbours_change_no_bit_of_a_real_model_where_the_scorer_says_so(smol_layers: Path) -> None:
    """With the kernel at hand; tests/whole/test_blas_cores.py has others."""
    scorer = fastest_scorer(mlx_lm.load(str(smol_layers))[0].freeze())
    apart = neighbours_apart(scorer, with_siblings((9, 33, 41, 130), 49152))
    assert apart <= (0 if scorer.same_bits else 3e-4)
    assert ("batched to the same bits" in scorer.describe()) == scorer.same_bits


def test_gradients_equal_those_of_full_logits(scorer: Scorer) -> None:
    batch = [completion(40, 10, 1), completion(21, 3, 2), completion(50, 10, 1)]
    weights = [
        mx.array(np.random.default_rng(row).normal(size=len(one.ids) - one.start)) for row, one in enumerate(batch)
    ]

    def ours(scored: Logprobs) -> tuple[mx.array, None]:
        rows = [(scored.tokens[row, : len(weight)] * weight).sum() for row, weight in enumerate(weights)]
        return sum(rows, mx.array(0.0)), None

    def full() -> mx.array:
        total = mx.array(0.0)
        for one, weight in zip(batch, weights):
            logits = scorer.model(mx.array(one.ids[None].astype(np.int32)))[0, one.start - 1 : -1]
            targets = mx.array(one.ids[one.start :].astype(np.int32))
            total = total - (nn.losses.cross_entropy(logits, targets) * weight).sum()
        return total

    mine = dict(nn.utils.tree_flatten(scorer.value_and_grad(batch, ours)[1]))
    theirs = dict(nn.utils.tree_flatten(nn.value_and_grad(scorer.model, full)()[1]))
    assert mine.keys() == theirs.keys()
    for name, gradient in theirs.items():
        scale = float(mx.abs(gradient).max())
        np.testing.assert_allclose(np.array(mine[name]) / scale, np.array(gradient) / scale, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "lazily"),
    thin(
        product([{}, {"checkpoint_layers": True}, {"chunk_tokens": 16}], [False, True]),
        lambda case: case[1] or not case[0],
    ),
    ids=repr,
)
def test_dropout_is_the_same_when_a_layer_runs_again(tiny_model: Path, options: dict[str, Any], lazily: bool) -> None:
    """A second run that drew other masks would give the gradient of another function."""
    model = mlx_lm.load(str(tiny_model))[0]
    model.freeze()
    linear_to_lora_layers(model, -1, {"rank": 4, "scale": 10.0, "dropout": 0.5})
    model.train()
    mx.random.seed(1)
    start = dict(nn.utils.tree_flatten(model.trainable_parameters()))
    start = {name: 0.05 * mx.random.normal(value.shape) for name, value in start.items()}
    direction = {name: mx.random.normal(value.shape) for name, value in start.items()}
    scorer = fastest_scorer(model, Options(lazily=lazily, **options))
    batch = [completion(60, 20, 1), completion(45, 20, 1)]

    def total() -> tuple[mx.array, Any]:
        mx.random.seed(7)
        (value, _), gradient = scorer.value_and_grad(batch, lambda scored: (scored.sums.sum(), None))
        return value, gradient

    def along(step: float) -> float:
        moved = {name: value + step * direction[name] for name, value in start.items()}
        model.update(nn.utils.tree_unflatten(list(moved.items())))
        return total()[0].item()  # type: ignore[return-value]  # a scalar

    measured = (along(2e-3) - along(-2e-3)) / 4e-3
    along(0)
    gradient = dict(nn.utils.tree_flatten(total()[1]))
    slope = sum(float((gradient[name] * direction[name]).sum()) for name in direction)
    assert slope == pytest.approx(measured, rel=0.03)


def test_a_scorer_leaves_no_trace_in_the_random_state_or_the_model(tiny_model: Path) -> None:
    model = mlx_lm.load(str(tiny_model))[0]
    before = {name: np.array(value).tobytes() for name, value in nn.utils.tree_flatten(model.parameters())}
    mx.random.seed(5)
    expected = np.array(mx.random.normal((4,)))
    mx.random.seed(5)
    fastest_scorer(model, Options(checkpoint_layers=True, chunk_tokens=16))
    assert np.array_equal(np.array(mx.random.normal((4,))), expected)
    after = {name: np.array(value).tobytes() for name, value in nn.utils.tree_flatten(model.parameters())}
    assert after == before


@pytest.mark.parametrize(
    ("full", "lazily"),
    thin([(False, False), (True, True), (False, True), (True, False)], lambda case: case[0] == case[1]),
)
def test_in_pieces_a_long_answer_takes_a_fraction_of_the_memory(tiny_model: Path, full: bool, lazily: bool) -> None:
    model = mlx_lm.load(str(tiny_model))[0]
    if not full:
        model.freeze()
        linear_to_lora_layers(model, -1, {"rank": 8, "scale": 20.0, "dropout": 0.0})
    model.train()
    peaks = []
    for chunk_tokens in (None, 64):
        scorer = fastest_scorer(model, Options(chunk_tokens=chunk_tokens, lazily=lazily))
        mx.eval(model.parameters())
        before = count_held_bytes()
        mx.reset_peak_memory()
        mx.eval(scorer.value_and_grad([completion(1500, 500)], lambda scored: (scored.sums.sum(), None)))
        peaks.append(mx.get_peak_memory() - before)
    assert peaks[1] < peaks[0] / 3
