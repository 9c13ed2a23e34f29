"""The order in which pairs are trained on: a function of the seed alone, so that any step can be found again.

Each epoch is a fresh permutation in which every pair comes once; the last partial batch is a batch like the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefd.daemon.spec import TrainingSpec
from prefd.daemon.worker.tokens import Example


@dataclass(frozen=True)
class Schedule:
    """Optimizer steps over `examples`; step numbers begin at 1."""

    examples: Sequence[Example]
    batch_size: int
    accumulation: int
    total_steps: int
    seed: int

    @classmethod
    def plan(cls, examples: Sequence[Example], training: TrainingSpec) -> Schedule:
        pairs_per_step = training.batch_size * training.gradient_accumulation_steps
        steps_per_epoch = -(-len(examples) // pairs_per_step)
        steps = training.iters or max(1, math.ceil((training.epochs or 1.0) * steps_per_epoch))
        return cls(examples, training.batch_size, training.gradient_accumulation_steps, steps, training.seed)

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.examples) // (self.batch_size * self.accumulation))

    def epoch(self, step: int) -> float:
        """Passes over the data after `step`."""
        return step / self.steps_per_epoch

    def micro_batches(self, step: int) -> list[list[Example]]:
        """The micro-batches whose gradients step `step` adds up, each of at most `batch_size` pairs."""
        epoch, place = divmod(step - 1, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.examples))
        width = self.batch_size * self.accumulation
        picked = [self.examples[row] for row in order[place * width : (place + 1) * width]]
        return split(picked, self.batch_size)


def split(examples: Sequence[Example], size: int) -> list[list[Example]]:
    """`examples` in runs of `size`, the last one shorter."""
    return [list(examples[begin : begin + size]) for begin in range(0, len(examples), size)]
