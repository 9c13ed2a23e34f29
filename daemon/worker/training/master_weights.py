"""Keeps float32 copies of weights that compute in half precision, so that small updates add up.

A bfloat16 number has 8 bits: at a learning rate of 1e-5 most updates are below half of the last one and round to nothing (of
the weights of a model trained so for 100 steps, 15 % had moved at all). The copies take the updates, and after each
the model's own weights are the copies, rounded. It costs 4 bytes a trained weight, besides the optimizer's own
state, which is float32 too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.optimizers import Optimizer
from mlx.utils import tree_map


class MasterWeights(Optimizer):
    """MasterWeights is an optimizer that updates float32 copies of a model's trained weights, and rounds them into the model.

    Its state is that of the optimizer it wraps and the copies: a checkpoint that keeps one keeps both.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._masters: Any = {}

    @property
    def state(self) -> dict[str, Any]:
        """Returns the wrapped optimizer's state, and the copies, as one tree."""
        return {"optimizer": self.optimizer.state, "masters": self._masters}

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        """Sets the wrapped optimizer's state, and the copies, from such a tree."""
        self.optimizer.state, self._masters = state["optimizer"], state["masters"]

    @property
    def learning_rate(self) -> mx.array:
        """Returns the learning rate of the step that was taken last."""
        rate: mx.array = self.optimizer.learning_rate
        return rate

    @learning_rate.setter
    def learning_rate(self, rate: float | mx.array) -> None:
        """Sets the learning rate of the steps to come."""
        self.optimizer.learning_rate = rate

    @property
    def step(self) -> mx.array:
        """Returns how many steps have been taken."""
        count: mx.array = self.optimizer.step
        return count

    def init(self, parameters: dict[str, Any]) -> None:
        """Copy `parameters`, a tree of arrays, in float32, and make the wrapped optimizer's state for the copies."""
        self._masters = tree_map(lambda value: value.astype(mx.float32), parameters)
        self.optimizer.init(self._masters)

    def update(self, model: nn.Module, gradients: dict[str, Any]) -> None:
        """Update the copies by `gradients`, a tree like the model's trainable parameters, and round them into `model`."""
        wide_gradients = tree_map(lambda value: value.astype(mx.float32), gradients)
        self._masters = self.optimizer.apply_gradients(wide_gradients, self._masters)
        model.update(
            tree_map(lambda master, own: master.astype(own.dtype), self._masters, model.trainable_parameters())
        )
