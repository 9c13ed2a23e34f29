"""Weights in half precision are updated in float32, and what a checkpoint keeps of it goes on as if nothing had been."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx.utils import tree_flatten, tree_map

from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.training.checkpoint import Checkpoints
from prefd.daemon.worker.training.master_weights import MasterWeights
from prefd.daemon.worker.training.optimizer import make_optimizer

STEPS = 100


class Small(nn.Module):
    """A model with a layer, so that muon has a matrix to take."""

    def __init__(self, dtype: mx.Dtype) -> None:
        super().__init__()
        mx.random.seed(0)
        self.layers = [nn.Linear(8, 8)]
        self.norm = nn.RMSNorm(8)
        self.set_dtype(mx.bfloat16)  # both begin with the same numbers
        self.set_dtype(dtype)


def gradients_of(model: nn.Module, step: int) -> dict[str, object]:
    """Gradients that depend on the step alone, rounded as those of a model in half precision are."""
    keys = iter(mx.random.split(mx.random.key(step), 3))
    return tree_map(
        lambda value: mx.random.normal(value.shape, key=next(keys)).astype(mx.bfloat16).astype(value.dtype),
        model.trainable_parameters(),
    )


def arrays(tree: object) -> dict[str, np.ndarray]:
    return {name: np.array(value.astype(mx.float32)) for name, value in tree_flatten(tree)}


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
def test_the_weights_are_those_of_float32_training_rounded_to_the_models_type(optimizer: str):
    training = TrainingSpec.model_validate({"fine_tune": "full", "optimizer": optimizer, "learning_rate": 1e-5})
    half, wide = Small(mx.bfloat16), Small(mx.float32)
    half_optimizer, wide_optimizer = make_optimizer(training, STEPS, half), make_optimizer(training, STEPS, wide)
    assert isinstance(half_optimizer, MasterWeights)
    assert not isinstance(wide_optimizer, MasterWeights)
    for each, model in ((half_optimizer, half), (wide_optimizer, wide)):
        each.init(model.trainable_parameters())
        for step in range(STEPS):
            each.update(model, gradients_of(model, step))
            mx.eval(model.parameters(), each.state)
    wide.set_dtype(mx.bfloat16)
    trained, start = arrays(half.parameters()), arrays(Small(mx.bfloat16).parameters())
    for name, value in arrays(wide.parameters()).items():
        np.testing.assert_array_equal(trained[name], value)
    assert half.layers[0].weight.dtype == mx.bfloat16
    masters = arrays(half_optimizer.state["masters"])
    assert all(
        (masters[name] != start[name]).all() for name in start
    )  # rounded at each step, most would not have moved


def test_a_checkpoint_goes_on_with_the_copies(tmp_path: Path):
    training = TrainingSpec.model_validate({"fine_tune": "full", "learning_rate": 1e-5})
    model = Small(mx.bfloat16)
    optimizer = make_optimizer(training, STEPS, model)
    optimizer.init(model.trainable_parameters())
    checkpoints = Checkpoints(tmp_path / "checkpoints", 2)
    config = {"fine_tune_type": "full", "num_layers": 1, "lora_parameters": {}}
    for step in range(8):
        if step == 4:
            checkpoints.save(step, model, optimizer, config, {})
        optimizer.update(model, gradients_of(model, step))
        mx.eval(model.parameters(), optimizer.state)

    resumed = Small(mx.bfloat16)
    resumed_optimizer = make_optimizer(training, STEPS, resumed)
    resumed_optimizer.init(resumed.trainable_parameters())
    checkpoint = checkpoints.restore(resumed, resumed_optimizer)
    assert checkpoint is not None
    for step in range(checkpoint.step, 8):
        resumed_optimizer.update(resumed, gradients_of(resumed, step))
        mx.eval(resumed.parameters(), resumed_optimizer.state)
    for name, value in arrays(optimizer.state).items():
        np.testing.assert_array_equal(arrays(resumed_optimizer.state)[name], value)
    for name, value in arrays(model.parameters()).items():
        np.testing.assert_array_equal(arrays(resumed.parameters())[name], value)
