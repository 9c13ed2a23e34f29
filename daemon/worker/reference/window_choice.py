"""Chooses how many of a reference's layers are in memory at a time, and how many tokens run through them before the next are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn

from prefd.daemon.runs.window_summary import WindowSummary
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models import memory
from prefd.daemon.worker.models.memory import count_bytes, format_gib
from prefd.daemon.worker.models.tiers import Tier, find_tier
from prefd.daemon.worker.scoring.trunk import Parts, find_parts

USABLE = 0.8
"""The share of the memory that is free now which a pass may take."""
BATCH_STATES = 24
"""How many times its hidden state a token takes while its batch runs: what a layer has in work, and its keys and values."""
HEAD_BYTES = 2**28
"""What the output head takes for a slice of logits, their exponentials included."""
STATES_SHARE = 1 / 3
"""The share for hidden states of what is left beside the model's frame and the batch that runs; the rest is the window's."""
PADDING = 1.25
"""Tokens that run for each that a batch has: its padding, and what a bound on the tokens does not see."""
CHUNK_TOKENS: dict[Tier, int] = {"cpu": 2**15, "metal": 2**17, "large metal": 2**18, "cuda": 2**19}
"""Tokens of a chunk, at most: so many that reading the weights takes about a twentieth of the time, by arithmetic and not measured.
More would cost memory, and more would be lost by a kill."""


@dataclass(frozen=True)
class ModelSizes:
    """ModelSizes says how many bytes each part of a model takes when it has been read."""

    frame: int
    """What is before and behind the layers: embeddings, the last norm, the output head."""
    layers: tuple[int, ...]
    """The weights of each layer; none for a model whose layers are not found."""
    state: int
    """The hidden state of one token."""
    behind: int = 0
    """Of the frame, what is outside of the trunk: an output head of its own, where there is one."""

    @classmethod
    def measure(cls, model: nn.Module) -> ModelSizes:
        """Measure a model that is open; none of it is read."""
        total = count_bytes(model.parameters())
        parts = next(find_parts(model), None)
        if parts is None:
            return cls(total, (), 0)
        layers = tuple(count_bytes(layer.parameters()) for layer in parts.layers)
        behind = total - count_bytes(parts.trunk.parameters())
        return cls(total - sum(layers), layers, _measure_state(parts), behind)

    @property
    def total(self) -> int:
        """Return the bytes of all weights."""
        return self.frame + sum(self.layers)


def _measure_state(parts: Parts) -> int:
    trunk: Any = parts.trunk
    state: mx.array = trunk(mx.array([[1]]))  # not computed
    return state.nbytes


@dataclass(frozen=True)
class Windows:
    """Windows says that a model is scored with `size` of its layers in memory, a chunk of `chunk_tokens` at a time."""

    sizes: ModelSizes
    size: int
    chunk_tokens: int
    batch_tokens: int

    @property
    def memory_bytes(self) -> int:
        """Return the bytes that the pass takes at once, by estimate."""
        window = self.size * max(self.sizes.layers)
        return self.sizes.frame + window + count_batch_bytes(self.sizes, self.batch_tokens) + self.state_bytes

    @property
    def state_bytes(self) -> int:
        """Return the bytes of a chunk's hidden states."""
        return int(PADDING * self.sizes.state * self.chunk_tokens)

    def summarize(self, readings: int) -> WindowSummary:
        """Say for the report what is run how, with the weights read so many times."""
        return WindowSummary(
            size=self.size,
            layers=len(self.sizes.layers),
            chunk_tokens=self.chunk_tokens,
            weights_bytes=sum(self.sizes.layers),
            readings=readings,
            memory_bytes=self.memory_bytes,
        )


def choose_windows(model: nn.Module, name: str, window: int | None, batch_tokens: int) -> Windows | None:
    """Choose the windows for the model `name`, which is open and not read; None where it is to be in memory whole.

    `window` is the size that the spec names. Raises `JobError` for a model that does not fit and cannot be run in windows.
    """
    total, free = memory.machine()
    sizes = ModelSizes.measure(model)
    if window is None and sizes.total <= total:
        return None
    if not sizes.layers:
        memory.check_weights(model, name)
        raise JobError(
            f"reference.window is {window}, and {name} has no layers that are found, so it cannot be run in windows: leave it out"
        )
    room = int(USABLE * free) - sizes.frame - count_batch_bytes(sizes, batch_tokens)
    largest = max(sizes.layers)
    size = window or max(1, int(room * (1 - STATES_SHARE)) // largest)
    size = min(size, len(sizes.layers))
    if size == len(sizes.layers) and sizes.total <= total:
        return None
    if sizes.frame + size * largest > total:
        raise JobError(_explain_refusal(sizes, name, window, total))
    most = CHUNK_TOKENS[find_tier()]
    tokens = int((room - size * largest) / (PADDING * sizes.state))
    return Windows(sizes, size, max(batch_tokens, min(most, tokens)), batch_tokens)


def count_batch_bytes(sizes: ModelSizes, batch_tokens: int) -> int:
    """Estimate the bytes that a batch of so many tokens takes while it runs."""
    return BATCH_STATES * sizes.state * batch_tokens + HEAD_BYTES


def _explain_refusal(sizes: ModelSizes, name: str, window: int | None, total: int) -> str:
    layer = format_gib(max(sizes.layers))
    need = f"{name} takes {format_gib(sizes.frame)} beside its layers and {layer} for each of them"
    has = f"this machine has {format_gib(total)} in all"
    if window is not None and window > 1:
        return f"reference.window is {window}, and {need}; {has}: name a smaller window, or leave it out"
    return (
        f"{need}; {has}, too little for one layer at a time. Name a smaller reference, or score on a larger machine and bring the "
        "cache here (`prefd cache export`, or cache_url)"
    )
