"""The order in which pairs are trained on, and what of a step runs at once.

The order is a function of the seed alone, so that any step can be found again. Each epoch is a fresh permutation in
which every pair comes once; the last partial batch is a batch like the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.scoring.plan import cost


@dataclass(frozen=True)
class Schedule:
    """Optimizer steps over `examples`; step numbers begin at 1."""

    examples: Sequence[Example]
    pairs_per_step: int
    total_steps: int
    seed: int

    @classmethod
    def plan(cls, examples: Sequence[Example], training: TrainingSpec) -> Schedule:
        pairs_per_step = training.batch_size * training.gradient_accumulation_steps
        steps_per_epoch = -(-len(examples) // pairs_per_step)
        wanted = round((training.epochs or 1.0) * steps_per_epoch, 6)  # 1.1 of 50 steps are 55.00000000000001
        steps = training.iters or max(1, math.ceil(wanted))
        return cls(examples, pairs_per_step, steps, training.seed)

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.examples) // self.pairs_per_step)

    def epoch(self, step: int) -> float:
        """Passes over the data after `step`."""
        return step / self.steps_per_epoch

    def pairs(self, step: int) -> list[Example]:
        """The pairs whose mean loss step `step` descends."""
        epoch, place = divmod(step - 1, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.examples))
        begin = place * self.pairs_per_step
        return [self.examples[row] for row in order[begin : begin + self.pairs_per_step]]


@dataclass(frozen=True)
class Batching:
    """How pairs are cut into the micro-batches that run at once: their gradients add up to the same, whatever the cut."""

    pairs: int
    """At most so many in one."""
    tokens: int | None
    """At most so many tokens in one, but for a pair that is longer alone. None: pairs stay as they come, for a loss
    that looks across its batch.
    """

    def most_tokens(self, examples: Sequence[Example]) -> int:
        """Tokens in the largest micro-batch that can come of `examples`."""
        sizes = sorted(map(tokens_of, examples), reverse=True)
        together = sum(sizes[: self.pairs])
        return together if self.tokens is None else max(sizes[0], min(self.tokens, together))

    def split(self, examples: Sequence[Example]) -> list[list[Example]]:
        if self.tokens is None:
            return [list(examples[begin : begin + self.pairs]) for begin in range(0, len(examples), self.pairs)]
        made: list[list[Example]] = []
        left = 0
        for example in sorted(examples, key=tokens_of, reverse=True):  # like lengths together; memory peaks at once
            if not made or len(made[-1]) == self.pairs or tokens_of(example) > left:
                made.append([])
                left = self.tokens
            made[-1].append(example)
            left -= tokens_of(example)
        return made


def tokens_of(example: Example) -> int:
    """Tokens that a pair takes when it runs: its prompt once."""
    return example.chosen.start + cost(example.chosen) + cost(example.rejected)
