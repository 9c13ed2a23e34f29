"""Adds up the gradients of micro-batches, and has the optimizer change the weights by them: as they come, or compiled.

A LoRA has hundreds of small arrays, and an update takes a dozen operations on each: on a GPU the time goes into starting them.
`mx.compile` makes one of those that follow each other on an array. The arrays have the same shapes in every step, so it compiles
once. It changes no number by more than the last digit, and a run that goes on compiles as the one before it did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import mlx.core as mx
from mlx import nn
from mlx.optimizers import Optimizer
from mlx.utils import tree_map

from prefd.daemon.worker.device_trouble import raise_if_device_failed
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.training.optimizer import clip_gradients

Compile = Literal["auto"] | bool


def decide_compiling(wanted: Compile) -> bool:
    """Decide whether to compile: a GPU gains by it; "auto" leaves a CPU, which has nothing to start, without.

    Raises `JobError` where it is wanted and MLX cannot compile here.
    """
    if wanted == "auto":
        return bool(mx.default_device() == mx.gpu) and _find_fault() is None
    if wanted and (fault := _find_fault()) is not None:
        raise JobError(
            f"training.compile is true, and MLX cannot compile on this machine: {fault}; on a CPU it needs a C++ compiler (g++). "
            "Install one, or leave training.compile out"
        )
    return wanted


def _find_fault() -> str | None:
    """Compile and run two operations; say what went wrong, None where nothing did."""
    probe: Callable[[mx.array], mx.array] = mx.compile(lambda x: mx.exp(x) * 3 + x)
    try:
        mx.eval(probe(mx.array([0.5, 0.25])))
    except RuntimeError as error:
        raise_if_device_failed(error)
        return " ".join(str(error).split())[:300]
    return None


@dataclass
class WeightUpdate:
    """WeightUpdate changes the trained weights of `model` as `optimizer` would. `compiled`: in compiled functions."""

    model: nn.Module
    optimizer: Optimizer
    max_grad_norm: float | None = None
    compiled: bool = False

    def add(self, total: Any, gradients: Any) -> Any:
        """Add the gradients of a micro-batch to the `total` of those before, in float32; None is nothing yet."""
        if total is None:
            return tree_map(lambda gradient: gradient.astype(mx.float32), gradients)
        return self._compiled_sum(total, gradients) if self.compiled else _add_up(total, gradients)

    def apply(self, gradients: Any, norm: float) -> None:
        """Clip the gradients, whose global norm is `norm`, and take the optimizer's step; nothing is evaluated."""
        if not self.compiled:
            self.optimizer.update(self.model, clip_gradients(gradients, norm, self.max_grad_norm))
            return
        share = 1.0 if self.max_grad_norm is None or norm <= self.max_grad_norm else self.max_grad_norm / norm
        weights, state = self._compiled_step(
            self.model.trainable_parameters(), self.optimizer.state, gradients, mx.array(share)
        )
        self.model.update(weights)
        self.optimizer.state = state

    @cached_property
    def _compiled_sum(self) -> Callable[[Any, Any], Any]:
        compiled: Callable[[Any, Any], Any] = mx.compile(_add_up)
        return compiled

    @cached_property
    def _compiled_step(self) -> Callable[[Any, Any, Any, mx.array], tuple[Any, Any]]:
        compiled: Callable[[Any, Any, Any, mx.array], tuple[Any, Any]] = mx.compile(self._take_step)
        return compiled

    def _take_step(self, weights: Any, state: Any, gradients: Any, share: mx.array) -> tuple[Any, Any]:
        """Take the step as a function of arrays alone; model and optimizer are as before when it has returned."""
        weights_before, state_before = self.model.trainable_parameters(), self.optimizer.state
        try:
            self.model.update(weights)
            self.optimizer.state = _copy_tree(state)  # an optimizer writes into it
            self.optimizer.update(self.model, tree_map(lambda gradient: gradient * share, gradients))
            return self.model.trainable_parameters(), self.optimizer.state
        finally:
            self.model.update(weights_before)
            self.optimizer.state = state_before


def _add_up(total: Any, gradients: Any) -> Any:
    return tree_map(lambda sum_so_far, gradient: sum_so_far + gradient.astype(mx.float32), total, gradients)


def _copy_tree(tree: Any) -> Any:
    return tree_map(lambda array: array, tree)
