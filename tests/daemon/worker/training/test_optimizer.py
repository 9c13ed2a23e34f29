"""Optimizers as a spec asks for them, schedules against their formulas, clipping against float64."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx import nn
from mlx.optimizers import MultiOptimizer
from mlx.utils import tree_flatten, tree_map
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model

from prefd.daemon.specs.optimizer import CONFIGS, ScheduleSpec
from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.training.optimizer import (
    clip_gradients,
    find_layer_matrices,
    make_learning_rate,
    make_optimizer,
    measure_global_norm,
)


def training_of(**fields: Any) -> TrainingSpec:
    return TrainingSpec.model_validate({"learning_rate": 0.1} | fields)


class Line(nn.Module):
    """y = w · x, a model whose layers are itself."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.w = mx.ones((size, size))

    @property
    def layers(self) -> list[nn.Module]:
        return [self]


def rates(total: int, **fields: Any) -> list[float]:
    """The learning rates of a job's steps, as plain SGD takes them: what its parameters lose, by their gradient."""
    training = training_of(optimizer="sgd", **fields)
    model = Line()
    optimizer = make_optimizer(training, total, model)
    values = []
    for _ in range(total):
        before = model.w[0, 0].item()
        optimizer.update(model, {"w": mx.ones((3, 3))})
        values.append(before - model.w[0, 0].item())
        assert optimizer.learning_rate.item() == pytest.approx(values[-1], abs=1e-6)  # what the metrics report
    return values


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"name": "constant"}, [0.1] * 10),
        ({"name": "cosine_decay"}, [0.05 * (1 + math.cos(math.pi * n / 10)) for n in range(10)]),
        ({"name": "linear_schedule"}, [0.1 * (1 - n / 10) for n in range(10)]),
        ({"name": "linear_schedule", "arguments": [0.1, 0.02, 4]}, [0.1, 0.08, 0.06, 0.04, *[0.02] * 6]),
        ({"name": "exponential_decay", "arguments": [0.1, 0.5]}, [0.1 * 0.5**n for n in range(10)]),
        ({"name": "step_decay", "arguments": [0.1, 0.5, 4]}, [0.1 * 0.5 ** (n // 4) for n in range(10)]),
        ({"name": "constant", "warmup": 4}, [0, 0.025, 0.05, 0.075, *[0.1] * 6]),
        ({"name": "constant", "warmup": 0.15, "warmup_init": 0.04}, [0.04, 0.07, *[0.1] * 8]),  # 0.15 of 10: 2 steps
        (
            {"name": "linear_schedule", "warmup": 4},
            [0, 0.025, 0.05, 0.075, 0.1, *(0.1 * (1 - n / 5) for n in range(5))],
        ),
    ],
)
def test_each_step_takes_its_learning_rate_and_reports_it(schedule: dict[str, Any], expected: list[float]) -> None:
    np.testing.assert_allclose(rates(10, lr_schedule=schedule), expected, atol=1e-6)


def test_no_schedule_is_one_learning_rate() -> None:
    assert make_learning_rate(training_of(), 5) == 0.1


@pytest.mark.parametrize("total", [1, 2, 3])
def test_a_fraction_of_warmup_fits_every_length(total: int) -> None:
    assert rates(total, lr_schedule={"name": "constant", "warmup": 0.9})[-1] == pytest.approx(0.1)


@pytest.mark.parametrize(("fraction", "total", "steps"), [(0.07, 100, 7), (0.14, 50, 7), (0.1, 25, 3), (0.0, 9, 0)])
def test_a_fraction_of_warmup_is_rounded_up_from_the_number_that_is_meant(
    fraction: float, total: int, steps: int
) -> None:
    assert ScheduleSpec.model_validate({"name": "constant", "warmup": fraction}).warmup_steps(total) == steps


def test_a_warmup_longer_than_the_job_is_told_with_the_number_of_steps() -> None:
    training = training_of(lr_schedule={"name": "constant", "warmup": 100})
    with pytest.raises(JobError, match=r"lr_schedule\.warmup: 100 steps of warmup, and the job has 20; a fraction"):
        make_learning_rate(training, 20)


@pytest.mark.parametrize("name", CONFIGS)
def test_each_optimizer_moves_against_the_gradient_with_its_settings(name: str) -> None:
    fields: dict[str, Any] = {"optimizer": name, "weight_decay": 0.0 if name == "adam" else 0.5}
    plain, decayed = Line(), Line()
    for model, extra in ((plain, {"weight_decay": 0.0}), (decayed, {})):
        optimizer = make_optimizer(training_of(**fields | extra), 10, model)
        optimizer.update(model, {"w": mx.eye(3) * 0.5})
    assert float(plain.w[0, 0].item()) < 1
    same = bool(mx.allclose(plain.w, decayed.w).item())
    assert same == (name == "adam")


def test_settings_reach_the_optimizer() -> None:
    adam: Any = make_optimizer(training_of(optimizer_config={"betas": [0.8, 0.9], "eps": 1e-6}), 1, Line())
    assert (adam.betas, adam.eps, adam.bias_correction, adam.weight_decay) == ([0.8, 0.9], 1e-6, True, 0.0)
    adafactor: Any = make_optimizer(training_of(optimizer="adafactor"), 1, Line())
    assert (adafactor.relative_step, adafactor.scale_parameter) == (False, False)


def test_adamw_first_step_is_the_papers() -> None:
    """Bias-corrected, the first step is the learning rate against the gradient's sign (Kingma & Ba, algorithm 1)."""
    model = Line()
    make_optimizer(training_of(), 1, model).update(model, {"w": mx.full((3, 3), -3.0)})
    np.testing.assert_allclose(np.array(model.w), 1.1, atol=1e-6)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_muon_takes_the_layers_matrices_and_adamw_the_rest(tiny_model: Path, kind: str) -> None:
    model, _ = load_model(tiny_model)
    if kind == "lora":
        model.freeze()
        linear_to_lora_layers(model, 1, {"rank": 4, "scale": 20.0, "dropout": 0.0}, use_dora=True)
    paths = [path for path, _ in tree_flatten(model.trainable_parameters())]
    expected = {path for path in paths if ".layers." in path and not path.endswith(("norm.weight", ".m"))}
    assert find_layer_matrices(model) & set(paths) == expected
    optimizer = make_optimizer(training_of(optimizer="muon", learning_rate=0.01), 10, model)
    assert isinstance(optimizer, MultiOptimizer)
    before = dict(tree_flatten(model.trainable_parameters()))
    optimizer.init(model.trainable_parameters())
    optimizer.update(model, tree_map(mx.ones_like, model.trainable_parameters()))
    after = dict(tree_flatten(model.trainable_parameters()))
    for path in paths:
        moved = np.array(before[path] - after[path])
        if path not in expected:  # adamw's first step
            np.testing.assert_allclose(moved, 0.01, atol=1e-5)
        elif min(moved.shape) > 1:  # orthogonalized: of a gradient of rank 1, one singular value near 1 is left
            assert np.linalg.norm(moved, 2) == pytest.approx(np.linalg.norm(moved), rel=1e-3)
    assert optimizer.learning_rate.item() == pytest.approx(0.01)


floats = st.floats(-1e3, 1e3, width=32)


@given(st.lists(st.lists(floats, min_size=1, max_size=5), min_size=1, max_size=4), st.floats(1e-3, 1e4))
def test_clipping_is_by_the_global_norm_of_float64(leaves: list[list[float]], max_norm: float) -> None:
    gradients = {str(n): mx.array(leaf) for n, leaf in enumerate(leaves)}
    exact = [np.array(leaf, dtype=np.float64) for leaf in leaves]
    norm = math.sqrt(sum(float((leaf**2).sum()) for leaf in exact))
    assert measure_global_norm(gradients) == pytest.approx(norm, rel=1e-5, abs=1e-15)
    clipped = clip_gradients(gradients, measure_global_norm(gradients), max_norm)
    for n, leaf in enumerate(exact):
        expected = leaf if norm <= max_norm else leaf * max_norm / norm
        np.testing.assert_allclose(np.array(clipped[str(n)]), expected, rtol=2e-5, atol=1e-12)


def test_half_precision_gradients_are_added_up_in_float32() -> None:
    gradients = {"a": mx.full((4096,), 0.1, dtype=mx.bfloat16), "b": mx.full((10,), 300.0, dtype=mx.float16)}
    exact = math.sqrt(
        sum(float((np.array(leaf.astype(mx.float32)).astype(np.float64) ** 2).sum()) for leaf in gradients.values())
    )
    assert measure_global_norm(gradients) == pytest.approx(exact, rel=1e-5)
    assert clip_gradients(gradients, exact, 1.0)["a"].dtype == mx.bfloat16
    assert clip_gradients(gradients, exact, None) is gradients
