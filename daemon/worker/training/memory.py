"""Estimates how much memory a job will take, before it takes it, and names the setting to change.

Weights, gradients and optimizer state are counted; a forward and backward pass is estimated from the sizes of the
model's layers, with two factors fitted to measurements of SmolLM2 (benchmarks/growth.md has estimate and measurement
side by side). An estimate alone never refuses a job: only what is counted does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlx import nn
from mlx.utils import tree_flatten

from prefd.daemon.specs.memory_advice import remedy
from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.memory import gib, machine, nbytes
from prefd.daemon.worker.scoring.head import SLICE_LOGITS
from prefd.daemon.worker.scoring.scorer import Options
from prefd.daemon.worker.training.schedule import Batching

KEPT_PER_OUTPUT = 2.8
"""Numbers kept for the backward pass for each output of a layer's matrices."""
KEPT_PER_SCORE = 1.8
"""The same for each attention score."""
KEPT_OF_KEYS = 4
"""Copies of a piece's keys and values: each of these, and its gradient."""
SLICE_COPIES = 3
"""Logits, their exponentials and their gradient."""


@dataclass(frozen=True)
class Estimate:
    """Bytes."""

    weights: int
    optimizer: int
    gradients: int
    activations: int
    """Of the largest micro-batch."""
    tokens: int
    """In that micro-batch."""

    @property
    def counted(self) -> int:
        return self.weights + self.optimizer + self.gradients

    @property
    def total(self) -> int:
        return self.counted + self.activations

    def __str__(self) -> str:
        parts = {
            "weights": self.weights,
            "optimizer": self.optimizer,
            "gradients": self.gradients,
            f"a batch of {self.tokens} tokens": self.activations,
        }
        listed = ", ".join(f"{name} {gib(size)}" for name, size in parts.items())
        return f"about {gib(self.total)}: {listed}"


def estimate(
    model: nn.Module,
    optimizer_state: Any,
    examples: Sequence[Example],
    batching: Batching,
    options: Options,
    copies: int = 0,
) -> Estimate:
    """What training `model`, whose weights need not be in memory yet, on `examples` takes; `copies` bytes of weights more."""
    gradients = nbytes(model.trainable_parameters())
    tokens = batching.most_tokens(examples)
    reach = max(len(side.ids) for each in examples for side in (each.chosen, each.rejected))
    return Estimate(
        nbytes(model.parameters()) + copies,
        nbytes(optimizer_state),
        2 * gradients,  # a step's sum, and what is being added to it
        activations(model, tokens, reach, options),
        tokens,
    )


def activations(model: nn.Module, tokens: int, reach: int, options: Options) -> int:
    """Bytes of one forward and backward pass over `tokens` tokens, the longest sequence of which has `reach`.

    In pieces of `chunk_tokens` it is one piece of each sequence at a time, and the keys and values of all.
    """
    layers: Any = model.layers
    arguments = getattr(model, "args", None)
    heads = _argument(arguments, "num_attention_heads", "n_head")
    experts = _argument(arguments, "num_experts_per_tok") or 2
    width = _width(layers[0], experts) if len(layers) else 0
    layer = 4 * (KEPT_PER_OUTPUT * width + KEPT_PER_SCORE * heads * 0.75 * reach)
    head = SLICE_COPIES * 4 * min(SLICE_LOGITS, tokens * _argument(arguments, "vocab_size"))
    hidden = _argument(arguments, "hidden_size", "n_embd")
    piece = tokens * min(1.0, (options.chunk_tokens or reach) / reach)
    kept = piece * len(layers) * layer
    if options.checkpoint_layers:
        kept = min(kept, piece * (2 * 4 * hidden * len(layers) + 4 * layer))
    if piece < tokens:
        share = (_argument(arguments, "num_key_value_heads") or heads) / max(heads, 1)
        kept += tokens * len(layers) * KEPT_OF_KEYS * 4 * hidden * share
    return int(kept + head)


def _width(layer: nn.Module, experts: int) -> int:
    """Outputs of all matrices that a token goes through in `layer`; of experts, those it is sent to."""
    total = 0
    leaves: Any = tree_flatten(layer.parameters())
    for name, value in leaves:
        if name.endswith("weight") and value.ndim == 2:
            total += value.shape[0]
        elif name.endswith("weight") and value.ndim == 3:
            total += value.shape[1] * experts
    return total


def _argument(arguments: Any, *names: str) -> int:
    """The first of the model's arguments that is there; 0 where none is."""
    return next((int(value) for name in names if (value := getattr(arguments, name, None))), 0)


def check(found: Estimate, training: TrainingSpec) -> str | None:
    """A warning when the job may not fit. Raises `JobError` when it cannot: its weights alone are larger than memory."""
    total, free = machine()
    if found.counted > total:
        raise JobError(
            f"the job needs {found}; this machine has {gib(total)} in all. Make it smaller: {remedy(training)}"
        )
    if found.total > free:
        return (
            f"the job may need {found}; {gib(free)} of {gib(total)} are free now. If it is killed for it: "
            f"{remedy(training)}"
        )
    return None
