"""Makes MLX's optimizers and schedules as a spec asks for them, and clips gradients.

Everything an optimizer needs to go on is in its state, the step that its schedule is at included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn, optimizers
from mlx.optimizers import MultiOptimizer, Optimizer
from mlx.utils import tree_flatten, tree_map
from mlx_lm.tuner.utils import build_schedule

from prefd.daemon.specs.optimizer import NO_WEIGHT_DECAY, OptimizerName, ScheduleSpec, warmup_too_long
from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.scoring.trunk import list_arrays
from prefd.daemon.worker.training.master_weights import MasterWeights

Rate = float | Callable[[mx.array], mx.array]

CLASSES: dict[OptimizerName, Callable[..., Optimizer]] = {
    "adam": optimizers.Adam,
    "adamw": optimizers.AdamW,
    "adafactor": optimizers.Adafactor,
    "lion": optimizers.Lion,
    "sgd": optimizers.SGD,
    "muon": optimizers.Muon,
}


def make_optimizer(training: TrainingSpec, total_steps: int, model: nn.Module) -> Optimizer:
    """Make the optimizer of a job of `total_steps`, for `model`'s trainable parameters.

    Muon orthogonalizes matrices: it takes the 2-D parameters of the layers, and AdamW, at the same learning rate, the
    rest: norms, biases, embeddings, the head, and the experts' stacked matrices. Weights in half precision are updated in
    float32 (`MasterWeights`).
    """
    optimizer = _make_plain_optimizer(training, total_steps, model)
    leaves = list_arrays(model.trainable_parameters())
    return MasterWeights(optimizer) if any(value.dtype.size < mx.float32.size for _, value in leaves) else optimizer


def _make_plain_optimizer(training: TrainingSpec, total_steps: int, model: nn.Module) -> Optimizer:
    rate = make_learning_rate(training, total_steps)
    settings: dict[str, Any] = training.optimizer_settings.model_dump()
    if training.optimizer == "adafactor":
        settings["relative_step"] = False  # it would pass over the learning rate
    if training.optimizer not in NO_WEIGHT_DECAY:
        settings["weight_decay"] = training.weight_decay
    optimizer = CLASSES[training.optimizer](learning_rate=rate, **settings)
    if training.optimizer != "muon":
        return optimizer
    matrices = find_layer_matrices(model)
    adamw = optimizers.AdamW(rate, weight_decay=training.weight_decay, bias_correction=True)
    return MultiOptimizer([optimizer, adamw], [lambda path, _: path in matrices])


def make_learning_rate(training: TrainingSpec, total_steps: int) -> Rate:
    """Return the learning rate: a number, or a function of the count of steps before a step.

    Raises `JobError` for a warmup that is longer than the job, which a spec that counts epochs cannot know.
    """
    schedule, rate = training.lr_schedule, training.learning_rate
    if schedule is None:
        return rate
    warmup = schedule.warmup_steps(total_steps)
    if warmup >= total_steps and warmup > 0:
        raise JobError(f"training.lr_schedule.warmup: {warmup_too_long(warmup, total_steps)}")
    after = total_steps - (warmup + 1 if warmup else 0)  # mlx-lm holds the peak for one more step
    config = {
        "warmup": warmup,
        "warmup_init": schedule.warmup_init,
        **_make_schedule_config(schedule, rate, max(after, 1)),
    }
    rate_of_step: Rate = build_schedule(config)
    return rate_of_step


def _make_schedule_config(schedule: ScheduleSpec, rate: float, steps: int) -> dict[str, Any]:
    """Return mlx-lm's name and arguments; a schedule without arguments falls from `rate` to 0 over `steps`."""
    if schedule.name == "constant":
        return {"name": "linear_schedule", "arguments": [rate, rate, 1]}
    if schedule.arguments is not None:
        return {"name": schedule.name, "arguments": schedule.arguments}
    arguments = [rate, steps] if schedule.name == "cosine_decay" else [rate, 0.0, steps]
    return {"name": schedule.name, "arguments": arguments}


def find_layer_matrices(model: nn.Module) -> set[str]:
    """Find the paths of the 2-D parameters inside `model.layers`."""
    inside = {id(module) for layer in model.layers for _, module in layer.named_modules()}
    return {
        f"{path}.{name}"
        for path, module in model.named_modules()
        if id(module) in inside
        for name, value in module.items()
        if isinstance(value, mx.array) and value.ndim == 2
    }


def clip_gradients(gradients: Any, norm: float, max_norm: float | None) -> Any:
    """Scale `gradients`, whose global norm is `norm`, down to `max_norm` where they are above it."""
    if max_norm is None or norm <= max_norm:
        return gradients
    return tree_map(lambda gradient: gradient * (max_norm / norm), gradients)


def measure_global_norm(gradients: Any) -> float:
    """Measure √Σg² over every leaf, the squares added up in float32 within a leaf and in float64 between them."""
    leaves: Any = tree_flatten(gradients)
    squares = mx.stack([mx.square(leaf.astype(mx.float32)).sum() for _, leaf in leaves])
    return math.sqrt(float(np.array(squares).astype(np.float64).sum()))
