"""Handles the start of a policy that is compared with a reference, where its log-ratios are 0 or nothing but rounding.

Scores of one sequence differ in their last digits with what runs beside it, and more in half precision or where a device
takes other kernels under a gradient. Such noise must not choose a gradient: the penalty of `dpop` would pull with δ = 50
at every second pair. So while no step has moved the policy it is its own reference, which costs nothing and is exact on
every device; and how large the noise is gets measured once, in the very passes that training makes, for the losses whose
gradient jumps (`LossInput.noise`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.plugins.types import Logprobs

SAFETY_FACTOR = 3.0
"""How many times the largest difference measured counts as noise: few answers are measured, of many that come."""
LEAST = 1e-6
"""Nats for one token that are counted anyway: the last digit of a float32 log-probability. A step changes that too."""

Rows = list[npt.NDArray[np.float64]]


@dataclass
class Start:
    """Start holds what a run knows of where its policy started from. It changes with the steps, and checkpoints keep it."""

    unmoved: bool = False
    """The policy is the reference: it started as it, and no step has changed a weight yet."""
    noise: float = 0.0
    """`LossInput.noise`: nats for one token, growing with the root of their number."""
    shielded: bool = False
    """The loss takes no notice of the noise although its gradient jumps, so `reference_for` hides the noise from it."""

    def reference_for(self, policy: Logprobs, reference: Logprobs) -> Logprobs:
        """Return the reference's numbers for the loss, (B, T): the policy's own where the two are the same.

        They are the same in every row of a policy that has not moved; and, to a loss that is shielded, in the rows whose
        log-ratio is within the noise.
        """
        policy_tokens = mx.stop_gradient(policy.tokens)
        if self.unmoved:
            return Logprobs(policy_tokens, reference.mask)
        if not self.shielded:
            return reference
        log_ratios = ((policy_tokens - reference.tokens) * reference.mask).sum(axis=-1)
        is_noise = mx.abs(log_ratios) <= self.noise * mx.sqrt(reference.lengths)
        return Logprobs(mx.where(is_noise[:, None], policy_tokens, reference.tokens), reference.mask)

    def note_step(self, learning_rate: float) -> None:
        """Note a step that was taken with `learning_rate`; the first ones of a warmup may have taken 0."""
        self.unmoved = self.unmoved and learning_rate == 0.0

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"unmoved": self.unmoved, "noise": self.noise}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self.unmoved, self.noise = bool(state["unmoved"]), float(state["noise"])


def measure_noise(scorer: Scorer, completions: Sequence[Completion], reference: Logprobs | None = None) -> float:
    """Measure `LossInput.noise` of a policy, in nats for one token.

    It is how far the numbers that training gives `completions`, all in one batch, are from those of each alone, and from
    `reference`'s where that is the same model.

    The model must be in evaluation mode, or its dropout would be measured too.
    """
    trained_rows = _list_rows(_score_as_trained(scorer, completions), completions)
    references = [
        [row for completion in completions for row in _list_rows(scorer.logprobs([completion]), [completion])]
    ]
    if reference is not None:
        references.append(_list_rows(reference, completions))
    differences = [
        trained_row - reference_row
        for reference_rows in references
        for trained_row, reference_row in zip(trained_rows, reference_rows)
    ]
    return float(SAFETY_FACTOR * max(LEAST, *_measure_sizes(differences)))


def _score_as_trained(scorer: Scorer, completions: Sequence[Completion]) -> Logprobs:
    """Score in a pass that keeps what a gradient needs: a device may take other kernels for it.

    MLX is lazy, so no gradient is computed.
    """
    (_, scores), _ = scorer.value_and_grad(completions, lambda policy: (policy.sums.sum(), policy))
    logprobs: Logprobs = scores
    return logprobs


def _measure_sizes(differences: Rows) -> Iterator[float]:
    """Measure nats for one token: as the differences of single tokens have it, and as each sum does (they may share a sign)."""
    yield float(np.sqrt(np.mean(np.concatenate(differences) ** 2)))
    yield from (abs(difference.sum()) / np.sqrt(len(difference)) for difference in differences)


def _list_rows(logprobs: Logprobs, completions: Sequence[Completion]) -> Rows:
    tokens = np.array(logprobs.tokens).astype(np.float64)
    return [tokens[row, : len(completion.ids) - completion.start] for row, completion in enumerate(completions)]
