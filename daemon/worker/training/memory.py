"""Estimates how much memory a job will take, before it takes it, and names the setting to change.

Weights, gradients and optimizer state are counted; a forward and backward pass is estimated from the sizes of the
model's layers (benchmarks/memory.md has estimate and measurement side by side, by shape, type and device's way). An estimate alone never refuses a job: only what is counted does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlx import nn

from prefd.daemon.specs.memory_advice import suggest_savings
from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.memory import count_bytes, count_numbers, format_gib, machine
from prefd.daemon.worker.scoring.scorer import Options
from prefd.daemon.worker.training.activations import estimate_activations, estimate_answer
from prefd.daemon.worker.training.largest_batch import LargestBatch
from prefd.daemon.worker.training.schedule import Batching


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
    kept: int = 0
    """Kept outside the worker, for the case that it dies: the states of a step and of the one before."""
    answer: int = 0
    """Of an answer that is drawn between two steps (eval_samples): what a step has kept is free then."""

    @property
    def counted_bytes(self) -> int:
        """Return the bytes that are counted exactly: all but the activations."""
        return self.weights + self.optimizer + self.gradients + self.kept

    @property
    def total(self) -> int:
        """Return all bytes, counted and estimated."""
        return self.counted_bytes + max(self.activations, self.answer)

    def __str__(self) -> str:
        parts = {
            "weights": self.weights,
            "optimizer": self.optimizer,
            "gradients": self.gradients,
        }
        if self.answer > self.activations:
            parts["an answer of eval_samples"] = self.answer
        else:
            parts[f"a batch of {self.tokens} tokens"] = self.activations
        if self.kept:
            parts["the last step, kept twice"] = self.kept
        listed = ", ".join(f"{name} {format_gib(size)}" for name, size in parts.items())
        return f"about {format_gib(self.total)}: {listed}"


def estimate(
    model: nn.Module,
    optimizer_state: Any,
    examples: Sequence[Example],
    batching: Batching,
    options: Options,
    copies: int = 0,
    kept_bytes: int = 0,
    answer_tokens: int = 0,
) -> Estimate:
    """Estimate what training `model` on `examples` takes. Its weights need not be in memory yet.

    `copies` are bytes of weights besides, `kept_bytes` those in which the last step is kept; `answer_tokens` are those of the
    longest prompt that is answered between two steps, with its answer.
    """
    gradients = 4 * count_numbers(model.trainable_parameters())  # float32, whatever the model computes in
    largest = LargestBatch.of(examples, batching, options.slack)
    return Estimate(
        count_bytes(model.parameters()) + copies,
        count_bytes(optimizer_state),
        2 * gradients,  # a step's sum, and what is being added to it
        estimate_activations(model, largest, options),
        largest.tokens,
        kept_bytes,
        estimate_answer(model, answer_tokens),
    )


def check(estimate: Estimate, training: TrainingSpec) -> str | None:
    """Return a warning when the job may not fit, None when it does.

    Raises `JobError` when it cannot: its weights alone are larger than memory.
    """
    total, free = machine()
    savings = suggest_savings(training)
    if estimate.answer > estimate.activations:
        savings = f"fewer eval_samples.max_tokens; {savings}"
    if estimate.counted_bytes > total:
        raise JobError(
            f"the job needs {estimate}; this machine has {format_gib(total)} in all. Make it smaller: {savings}"
        )
    if estimate.total > free:
        return (
            f"the job may need {estimate}; {format_gib(free)} of {format_gib(total)} are free now. If it is killed for it: "
            f"{savings}"
        )
    return None
