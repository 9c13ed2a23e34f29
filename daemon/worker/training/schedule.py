"""Decides the order in which pairs are trained on, and cuts a step into the batches that run at once.

The order is a function of the seed alone, so that any step can be found again. Each epoch is a fresh permutation in
which every pair comes once; the last partial batch is a batch like the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.scoring.plan import count_segment_tokens


@dataclass(frozen=True)
class Schedule:
    """Schedule lays out optimizer steps over `examples`; step numbers begin at 1."""

    examples: Sequence[Example]
    pairs_per_step: int
    total_steps: int
    seed: int

    @classmethod
    def plan(cls, examples: Sequence[Example], training: TrainingSpec) -> Schedule:
        """Plan the steps over `examples` that `training` asks for."""
        pairs_per_step = training.batch_size * training.gradient_accumulation_steps
        steps_per_epoch = -(-len(examples) // pairs_per_step)
        exact_steps = round((training.epochs or 1.0) * steps_per_epoch, 6)  # 1.1 of 50 steps are 55.00000000000001
        steps = training.iters or max(1, math.ceil(exact_steps))
        return cls(examples, pairs_per_step, steps, training.seed)

    @property
    def steps_per_epoch(self) -> int:
        """Return how many optimizer steps one pass over the data has."""
        return -(-len(self.examples) // self.pairs_per_step)

    def epoch(self, step: int) -> float:
        """Count the passes over the data after `step`."""
        return step / self.steps_per_epoch

    @cached_property
    def _token_counts(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Count each pair's tokens, the prompt once for each of its answers."""
        return np.array([len(each.chosen.ids) + len(each.rejected.ids) for each in self.examples], dtype=np.int64)

    def count_tokens_seen(self, step: int) -> int:
        """Count the tokens that were trained on by the end of step `step`."""
        epochs, steps = divmod(step, self.steps_per_epoch)
        rows = self._shuffle(epochs)[: steps * self.pairs_per_step]
        return int(epochs * self._token_counts.sum() + self._token_counts[rows].sum())

    def _shuffle(self, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return the numbers of the pairs in their order in an epoch, the first of which is 0."""
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.examples))

    def pairs(self, step: int) -> list[Example]:
        """Return the pairs whose mean loss step `step` descends."""
        epoch, step_in_epoch = divmod(step - 1, self.steps_per_epoch)
        order = self._shuffle(epoch)
        begin = step_in_epoch * self.pairs_per_step
        return [self.examples[row] for row in order[begin : begin + self.pairs_per_step]]


@dataclass(frozen=True)
class Batching:
    """Batching says how pairs are cut into the micro-batches that run at once: their gradients add up to the same, whatever the cut."""

    pairs: int
    """The most pairs in one micro-batch."""
    tokens: int | None
    """The most tokens in one micro-batch, but for a pair that is longer alone. None: pairs stay as they come, for a loss
    that looks across its batch.
    """

    def count_most_tokens(self, examples: Sequence[Example]) -> int:
        """Count the tokens of the largest micro-batch that can come of `examples`."""
        sizes = sorted(map(count_tokens, examples), reverse=True)
        largest = sum(sizes[: self.pairs])
        return largest if self.tokens is None else max(sizes[0], min(self.tokens, largest))

    def split(self, examples: Sequence[Example]) -> list[list[Example]]:
        """Cut `examples` into micro-batches."""
        if self.tokens is None:
            return [list(examples[begin : begin + self.pairs]) for begin in range(0, len(examples), self.pairs)]
        batches: list[list[Example]] = []
        remaining = 0
        for example in sorted(examples, key=count_tokens, reverse=True):  # like lengths together; memory peaks at once
            if not batches or len(batches[-1]) == self.pairs or count_tokens(example) > remaining:
                batches.append([])
                remaining = self.tokens
            batches[-1].append(example)
            remaining -= count_tokens(example)
        return batches


def count_tokens(example: Example) -> int:
    """Count the tokens that a pair takes when it runs: its prompt once."""
    return example.chosen.start + count_segment_tokens(example.chosen) + count_segment_tokens(example.rejected)
