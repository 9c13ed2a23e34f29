"""Mixes several losses into one: the weighted sum that a spec's `loss:` list stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import mlx.core as mx

from prefd.plugins.metrics import PART
from prefd.plugins.types import LossInput, LossOutput


@dataclass(frozen=True)
class WeightedLoss:
    """WeightedLoss is one loss of a mixture, ready to be called."""

    name: str
    weight: float
    loss: Callable[[LossInput], LossOutput]
    preference: bool
    """Whether it compares the two sides, so that its rewards say something of the pair."""


@dataclass(frozen=True)
class Mixture:
    """Computes Σ weight · loss for each pair; the weights are used as they are and need not add up to 1.

    Rewards are those of the first part that compares the two sides (of the first part where none does). Each part's own
    loss is a metric, `loss/<name>`, without its weight; its other metrics become `<metric>/<name>`. A name that comes
    again is counted: `sigmoid`, `sigmoid:2`.
    """

    parts: Sequence[WeightedLoss]

    def __call__(self, x: LossInput) -> LossOutput:
        """Calls every part with the batch and adds up their losses, (B,)."""
        outputs = [part.loss(x) for part in self.parts]
        losses = reduce(mx.add, (part.weight * out.losses for part, out in zip(self.parts, outputs)))
        leading = next((out for part, out in zip(self.parts, outputs) if part.preference), outputs[0])
        metrics: dict[str, mx.array] = {}
        for label, out in zip(self._make_labels(), outputs):
            metrics |= {f"{metric}/{label}": values for metric, values in out.metrics.items()}
            metrics[PART + label] = mx.stop_gradient(out.losses)
        return LossOutput(losses, leading.chosen_rewards, leading.rejected_rewards, metrics)

    def _make_labels(self) -> Iterator[str]:
        """Gives each part's name in metrics, counted where it comes again."""
        names: list[str] = []
        for part in self.parts:
            names.append(part.name)
            count = names.count(part.name)
            yield part.name if count == 1 else f"{part.name}:{count}"
