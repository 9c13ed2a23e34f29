"""How much memory a job will take, said before it takes it, with the setting to change.

Weights, gradients and optimizer state are counted; a forward and backward pass is estimated from the sizes of the
model's layers, with two factors fitted to measurements of SmolLM2 (benchmarks/growth.md has estimate and measurement
side by side). An estimate alone never refuses a job: only what is counted does.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import psutil
from mlx import nn
from mlx.utils import tree_flatten

from prefd.daemon.cgroups import OWN, ROOT, memory_groups
from prefd.daemon.memory_advice import remedy
from prefd.daemon.spec import TrainingSpec
from prefd.daemon.worker.batches import Batching
from prefd.daemon.worker.engine.head import SLICE_LOGITS
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.logprobs import Options
from prefd.daemon.worker.tokens import Example

KEPT_PER_OUTPUT = 2.8
"""Numbers kept for the backward pass for each output of a layer's matrices."""
KEPT_PER_SCORE = 1.8
"""The same for each attention score."""
KEPT_OF_KEYS = 4
"""Copies of a piece's keys and values: each of these, and its gradient."""
SLICE_COPIES = 3
"""Logits, their exponentials and their gradient."""
GIB = 2**30


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


def gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"


def nbytes(tree: Any) -> int:
    leaves: Any = tree_flatten(tree)
    return sum(leaf.nbytes for _, leaf in leaves)


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


def machine() -> tuple[int, int]:
    """Bytes that the device has in all, and that are free now."""
    if mx.default_device() == mx.cpu:
        memory = psutil.virtual_memory()
        total = min([memory.total, *container_limits()])
        return total, min(memory.available, total)
    info = mx.device_info()
    names = ("max_recommended_working_set_size", "total_memory", "memory_size")
    total = next((int(info[name]) for name in names if info.get(name)), psutil.virtual_memory().total)
    free = min(total, psutil.virtual_memory().available) if sys.platform == "darwin" else total
    return total, free


def container_limits(root: Path = ROOT, own: Path = OWN) -> list[int]:
    """The memory limits, in bytes, of the control groups that this process is in."""
    found = []
    for group in itertools.chain.from_iterable(memory_groups(root, own)):
        with suppress(OSError, ValueError):  # no such file at the root, and `max` where there is no limit
            found.append(int(group.limit.read_text()))
    return found


def check_weights(model: nn.Module, name: str) -> None:
    """Raises `JobError` where the weights of the model `name`, not read yet, are larger than memory."""
    weights, (total, _) = nbytes(model.parameters()), machine()
    if weights > total:
        raise JobError(
            f"the weights of {name} take {gib(weights)}; this machine has {gib(total)} in all. Name a smaller reference, or "
            "score on a larger machine and bring the cache here (`prefd cache export`, or cache_url)"
        )


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
