"""SharedSteps shares the pairs of each step and evaluation out among ranks, and adds up what comes back.

The gradient of a step is that of the mean over all its pairs, so what ranks compute of it need only be added: no rank weighs more
than its pairs, and one may have none. Another number of ranks changes the sum by rounding, the same number gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.optimizers import Optimizer
from mlx.utils import tree_unflatten

from prefd.daemon.text.wording import pluralize
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.ranks.crew import Crew
from prefd.daemon.worker.ranks.ring import Ring, Stamp, digest_arrays
from prefd.daemon.worker.ranks.shares import divide
from prefd.daemon.worker.scoring.trunk import list_arrays
from prefd.daemon.worker.training.metrics import Mean
from prefd.daemon.worker.training.schedule import count_tokens


class SharedSteps:
    """SharedSteps is rank 0's part. `examples`: all pairs, in the order in which the other ranks have them."""

    def __init__(self, crew: Crew, examples: Sequence[Example]) -> None:
        self.crew = crew
        self._numbers = {id(example): number for number, example in enumerate(examples)}
        self.waited_seconds = 0.0
        self.peak_memory = 0.0
        """Of the rank that has needed most, bytes."""
        self.drifts = 0
        """Steps at which the machines had rounded differently, and went on with the first one's weights."""

    def describe_drifts(self) -> str | None:
        """Say at how many steps the machines had other weights than the first, to the last bit; None where they never had."""
        if not self.drifts:
            return None
        return f"the machines rounded {pluralize(self.drifts, 'step')} differently, and went on with the first one's weights"

    def share(self, what: str, number: int, examples: Sequence[Example]) -> list[Example]:
        """Tell the others their pairs of step, or evaluation, `number`, and return this rank's. Raises LostRank."""
        own, *others = divide([count_tokens(example) for example in examples], self.crew.size)
        for mate, share in zip(self.crew.mates, others, strict=True):
            numbers = [self._numbers[id(examples[index])] for index in share]
            mate.tell({"do": what, "number": number, "mine": numbers, "pairs": len(examples)})
        return [examples[index] for index in own]

    def add_gradients(
        self, number: int, pairs: int, own_pairs: int, gradients: Any, model: nn.Module, optimizer: Optimizer
    ) -> Any:
        """Return the gradient of all pairs of step `number`. Raises LostRank."""
        with self.crew.summing() as ring:
            stamp = Stamp(number, pairs, own_pairs, digest_arrays(model.trainable_parameters()))
            total = ring.sum(gradients, stamp)
            if ring.has_drifted:
                take_first_ranks(ring, model, optimizer)
                self.drifts += 1
            return total

    def add_metrics(self, mean: Mean) -> None:
        """Add the others' sums of metrics to this rank's. Raises LostRank."""
        for mate in self.crew.mates:
            head = mate.hear().head
            mean.merge(head["sums"], head["counts"])
            self.peak_memory = max(self.peak_memory, head["peak_memory"])


def describe_ranks(ranks: SharedSteps | None) -> str:
    """Say how many ranks share the steps, and where they are; empty where this process trains alone."""
    return "" if ranks is None else ranks.crew.describe_size()


def take_first_ranks(ring: Ring, model: nn.Module, optimizer: Optimizer) -> None:
    """Make the weights and the optimizer's state of this rank those of the first, as every rank does at once. Raises LostRing.

    Machines of unlike kind may round the same step differently; what they add up stays a gradient of one policy so.
    """
    model.update(tree_unflatten(ring.spread(list_arrays(model.trainable_parameters()))))
    optimizer.state = tree_unflatten(ring.spread(list_arrays(optimizer.state)))
    mx.eval(model.trainable_parameters(), optimizer.state)


def make_zeros(model: nn.Module) -> Any:
    """Make the gradient of no pair: float32 zeros for each trainable parameter."""
    leaves = list_arrays(model.trainable_parameters())
    return tree_unflatten([(name, mx.zeros(array.shape, mx.float32)) for name, array in leaves])


def keep_arrays(gradients: Any) -> Any:
    """Return the arrays alone of a tree of gradients: a model's lists hold other things beside them."""
    return tree_unflatten(list_arrays(gradients))
