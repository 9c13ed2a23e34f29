"""Estimates how much memory a job will take, before it takes it, and names the setting to change.

Weights, gradients and optimizer state are counted; a forward and backward pass is estimated from the sizes of the
model's layers, with factors fitted to measurements (benchmarks/memory.md has estimate and measurement side by side, by
shape, type and device's way). An estimate alone never refuses a job: only what is counted does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from prefd.daemon.specs.memory_advice import suggest_savings
from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.loading import ADAPTER_LEAVES
from prefd.daemon.worker.models.memory import count_bytes, count_numbers, format_gib, machine
from prefd.daemon.worker.scoring.head import SLICE_LOGITS
from prefd.daemon.worker.scoring.scorer import Options
from prefd.daemon.worker.training.largest_batch import LargestBatch
from prefd.daemon.worker.training.schedule import Batching

KEPT_PER_OUTPUT = {4: 2.3, 2: 2.6}
"""Bytes of a number → numbers kept for the backward pass for each output of a layer's matrices."""
KEPT_PER_SCORE = 1.0
"""Numbers kept for the backward pass for each attention score."""
KEPT_OF_INPUTS = 2
"""Numbers kept for each of a layer's inputs where nothing else is kept of it."""
KEPT_OF_KEYS = 4
"""Copies kept of a piece's keys and values: each of these, and its gradient."""
LAYERS_IN_WORK = {(True, False): 0.8, (True, True): 1.7, (False, False): 0.3, (False, True): 1.4}
"""Whether a step is one graph, whether layers are recomputed → layers whose arrays exist besides those that are kept."""
SLICE_COPIES = {True: 5, False: 3}
"""Whether a step is one graph → arrays of the size of a slice's logits: these, their exponentials and their gradients."""


@dataclass(frozen=True)
class Estimate:
    """Estimate is the estimated peak memory of training, in bytes, by what occupies it."""

    weights: int
    optimizer: int
    gradients: int
    activations: int
    """Kept for the backward pass of the largest micro-batch."""
    tokens: int
    """Tokens in that micro-batch, not bytes."""

    @property
    def counted_bytes(self) -> int:
        """The part that is counted exactly: all but the activations."""
        return self.weights + self.optimizer + self.gradients

    @property
    def total(self) -> int:
        """All bytes, counted and estimated."""
        return self.counted_bytes + self.activations

    def __str__(self) -> str:
        parts = {
            "weights": self.weights,
            "optimizer": self.optimizer,
            "gradients": self.gradients,
            f"a batch of {self.tokens} tokens": self.activations,
        }
        listed = ", ".join(f"{name} {format_gib(size)}" for name, size in parts.items())
        return f"about {format_gib(self.total)}: {listed}"


def estimate(
    model: nn.Module,
    optimizer_state: Any,
    examples: Sequence[Example],
    batching: Batching,
    options: Options,
    copies: int = 0,
) -> Estimate:
    """Estimate what training `model` on `examples` takes. Its weights need not be in memory yet; `copies` are bytes besides."""
    gradients = 4 * count_numbers(model.trainable_parameters())  # float32, whatever the model computes in
    largest = LargestBatch.of(examples, batching)
    return Estimate(
        count_bytes(model.parameters()) + copies,
        count_bytes(optimizer_state),
        2 * gradients,  # a step's sum, and what is being added to it
        estimate_activations(model, largest, options),
        largest.tokens,
    )


def estimate_activations(model: nn.Module, batch: LargestBatch, options: Options) -> int:
    """Estimate the bytes that one forward and backward pass over `batch` keeps and works in.

    In pieces of `chunk_tokens` it is one piece of each sequence at a time, and the keys and values of all.
    """
    layers: Any = model.layers
    arguments = getattr(model, "args", None)
    heads = _argument(arguments, "num_attention_heads", "n_head")
    experts = _argument(arguments, "num_experts_per_tok") or 2
    number_bytes = _measure_number(layers[0]) if len(layers) else 4
    width = _width(layers[0], experts) if len(layers) else 0
    keys = batch.scores / batch.tokens
    layer_bytes = number_bytes * (KEPT_PER_OUTPUT[number_bytes] * width + KEPT_PER_SCORE * heads * keys)
    hidden = _argument(arguments, "hidden_size", "n_embd")
    kept_bytes = layer_bytes * len(layers)
    if options.checkpoint_layers:
        kept_bytes = min(kept_bytes, KEPT_OF_INPUTS * number_bytes * hidden * len(layers))
    share_of_pieces = min(1.0, (options.chunk_tokens or batch.longest) / batch.longest)
    piece_tokens = batch.tokens * share_of_pieces
    runs_alone = not options.lazily and batch.longest > options.slack.longest
    tokens_at_once = max(batch.longest, batch.prompts) if runs_alone else batch.tokens
    work_bytes = layer_bytes * LAYERS_IN_WORK[options.lazily, options.checkpoint_layers]
    total = piece_tokens * kept_bytes + tokens_at_once * share_of_pieces * work_bytes
    if piece_tokens < batch.tokens:
        share = (_argument(arguments, "num_key_value_heads") or heads) / max(heads, 1)
        total += batch.tokens * len(layers) * KEPT_OF_KEYS * number_bytes * hidden * share
    slice_logits = min(SLICE_LOGITS, batch.answers * _argument(arguments, "vocab_size"))
    return int(total + SLICE_COPIES[options.lazily] * 4 * slice_logits)


def _measure_number(layer: nn.Module) -> int:
    """Measure the bytes of a number that `layer` computes with: those of its own floating-point weights, scales or norms."""
    leaves: Any = tree_flatten(layer.parameters())
    sizes = [
        value.dtype.size
        for name, value in leaves
        if mx.issubdtype(value.dtype, mx.floating) and name.rpartition(".")[2] not in ADAPTER_LEAVES
    ]
    return min(sizes, default=4)


def _width(layer: nn.Module, experts: int) -> int:
    """Count the outputs of all matrices that a token goes through in `layer`; of experts, those it is sent to."""
    total = 0
    leaves: Any = tree_flatten(layer.parameters())
    for name, value in leaves:
        if name.endswith("weight") and value.ndim == 2:
            total += value.shape[0]
        elif name.endswith("weight") and value.ndim == 3:
            total += value.shape[1] * experts
    return total


def _argument(arguments: Any, *names: str) -> int:
    """Return the first of the model's arguments that exists; 0 where none does."""
    return next((int(value) for name in names if (value := getattr(arguments, name, None))), 0)


def check(estimate: Estimate, training: TrainingSpec) -> str | None:
    """Return a warning when the job may not fit, None when it does.

    Raises `JobError` when it cannot: its weights alone are larger than memory.
    """
    total, free = machine()
    if estimate.counted_bytes > total:
        raise JobError(
            f"the job needs {estimate}; this machine has {format_gib(total)} in all. Make it smaller: {suggest_savings(training)}"
        )
    if estimate.total > free:
        return (
            f"the job may need {estimate}; {format_gib(free)} of {format_gib(total)} are free now. If it is killed for it: "
            f"{suggest_savings(training)}"
        )
    return None
