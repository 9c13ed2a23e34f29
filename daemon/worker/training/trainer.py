"""Trains a policy: one optimizer step, one evaluation, one check of the start. The loss is an argument.

The gradient of a step is that of the mean loss over all its pairs, whatever micro-batches they came in.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.optimizers import Optimizer
from mlx.utils import tree_map

from prefd.daemon.runs.batch_record import BatchSettings
from prefd.daemon.worker.data.tokens import Completion, Example, list_places
from prefd.daemon.worker.errors import Interrupted, JobError, NotFinite
from prefd.daemon.worker.pace import Pace
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.stopping import StopEvent
from prefd.daemon.worker.training.metrics import Mean, Sums, sum_pair_metrics
from prefd.daemon.worker.training.optimizer import measure_global_norm
from prefd.daemon.worker.training.pass_sizes import PassSizes
from prefd.daemon.worker.training.running_batches import RunningBatches
from prefd.daemon.worker.training.schedule import Batching
from prefd.daemon.worker.training.shared_steps import SharedSteps, keep_arrays
from prefd.daemon.worker.training.start import Start, measure_noise
from prefd.daemon.worker.training.start_check import StartDrift, measure_start_drift
from prefd.daemon.worker.training.weight_update import WeightUpdate
from prefd.plugins.metrics import EVAL
from prefd.plugins.types import Logprobs, LossInput, LossOutput, MeasuredLogprobs, TokenDistribution

log = logging.getLogger(__name__)

RANK_BITS = 28
"""Below these bits of a seed stand the step's number, and above them the rank's."""
Loss = Callable[[LossInput], LossOutput]
ReferenceScores = Callable[[Sequence[Completion]], Logprobs]
"""Completions → their reference log-probabilities: read from the cache, or from a live model when measuring."""


@dataclass
class Trainer:
    """Trainer is a policy being trained. `reference` is None when the loss takes none."""

    scorer: Scorer
    optimizer: Optimizer
    loss: Loss
    reference: ReferenceScores | None
    batching: Batching
    seed: int = 0
    max_grad_norm: float | None = None
    start: Start = field(default_factory=Start)
    pace: Pace = field(default_factory=Pace)
    changed_by: int = 0
    """The last step that has begun to change weights in this process: where a device fails in it, they are of no step."""
    can_undo: bool = False
    """Whether weights and optimizer are kept while they change, so that a device that fails then costs no step. For
    adapters that is nothing beside a pass; all weights and their moments a second time may not fit."""
    passes: PassSizes | None = None
    """Measures the passes of a GPU; None on a CPU."""
    ranks: SharedSteps | None = None
    """The other ranks, which compute their share of each step; None where this process trains alone."""
    on_pass: Callable[[], None] = lambda: None
    """Called after each micro-batch."""
    compiled: bool = False
    """Whether gradients are added up and weights updated in compiled functions, and graphs built ahead."""

    def __post_init__(self) -> None:
        self.update = WeightUpdate(self.model, self.optimizer, self.max_grad_norm, self.compiled)

    @property
    def model(self) -> nn.Module:
        """Return the policy's model."""
        return self.scorer.model

    def step(self, number: int, examples: Sequence[Example], stop: StopEvent | None = None) -> dict[str, float]:
        """Take optimizer step `number` (from 1) on the mean loss of `examples`, and return its metrics.

        `grad_norm` (before clipping) and `tokens_per_second` are among them.

        Raises `NotFinite` naming the rows when the loss or the gradient is not finite, and `Interrupted` when `stop` is
        requested between two micro-batches; the weights are unchanged then.
        """
        began = time.monotonic()
        own = examples if self.ranks is None else self.ranks.share("step", number, examples)
        mean, total = self.accumulate(number, own, len(examples), stop)
        sharing: dict[str, float] = {}
        if self.ranks is not None:
            summing_began = time.monotonic()
            total = self.ranks.add_gradients(
                number, len(examples), len(own), keep_arrays(total), self.model, self.optimizer
            )
            self.ranks.add_metrics(mean)
            sharing = {"reduce_seconds": time.monotonic() - summing_began, "ranks": self.ranks.crew.size}
        metrics = mean.means() | {"grad_norm": measure_global_norm(total)} | sharing
        if not (math.isfinite(metrics["loss"]) and math.isfinite(metrics["grad_norm"])):
            raise NotFinite(
                f"step {number}: loss {metrics['loss']}, grad_norm {metrics['grad_norm']}, on "
                f"{self._name_not_finite_rows(examples)}; lower training.learning_rate or the loss's beta, set "
                "training.max_grad_norm, or look at those rows"
            )
        self.apply(number, total, metrics["grad_norm"])
        tokens = sum(len(side.ids) for example in examples for side in (example.chosen, example.rejected))
        return metrics | {"tokens_per_second": tokens / (time.monotonic() - began)}

    def accumulate(
        self, number: int, examples: Sequence[Example], pairs: int, stop: StopEvent | None = None, rank: int = 0
    ) -> tuple[Mean, Any]:
        """Compute the metrics of `examples`, some of the `pairs` pairs of step `number`, and the gradient of their share in its loss.

        The gradient is a tree of float32 arrays, None without an example. Raises `Interrupted` as `step`.
        """
        # dropout depends on the step and the rank alone, so a resumed run repeats it
        mx.random.seed((self.seed << 32) + (rank << RANK_BITS) + number)
        mean = Mean()
        total: Any = None

        def finish(batch: Sequence[Example], sums: Sums, seconds: float) -> None:
            mean.add(sums)
            self._note_pass(batch, seconds, stop)

        running = RunningBatches(finish, 1 if self.builds_ahead else 0)
        for index, batch in enumerate(self.batching.split(examples)):
            if index and stop is not None and stop.is_set():
                raise Interrupted("the micro-batches")
            reference = self._score_reference(list_sides(batch))
            running.begin()
            sums, gradients = self._compute_gradients(batch, pairs, reference)
            total = self.update.add(total, gradients)
            running.start(batch, sums, total)
        running.finish_all()
        return mean, total

    def apply(self, number: int, gradients: Any, norm: float) -> None:
        """Change the weights by step `number`, along a gradient whose global norm is `norm`."""
        with self._undone_where_the_device_fails(number):
            self.update.apply(gradients, norm)
            mx.eval(self.model.trainable_parameters(), self.optimizer.state)
        self.start.note_step(float(self.optimizer.learning_rate.item()))

    @contextmanager
    def _undone_where_the_device_fails(self, number: int) -> Iterator[None]:
        """Put weights and optimizer back as they were before the block, which changes them by step `number`, where it fails."""
        weights, state = (
            tree_map(lambda array: array, tree) if self.can_undo else {}
            for tree in (self.model.trainable_parameters(), self.optimizer.state)
        )
        before, self.changed_by = self.changed_by, number
        try:
            yield
        except (RuntimeError, MemoryError):
            if self.can_undo:
                self.model.update(weights)
                self.optimizer.state, self.changed_by = state, before
            raise

    def take_sizes(self, settings: BatchSettings) -> None:
        """Run from now on in passes of these sizes; that changes gradients by rounding only."""
        if self.batching.tokens is not None:
            self.batching = replace(self.batching, tokens=settings.batch_tokens)
        options = self.scorer.options
        if settings.chunk_tokens < (options.chunk_tokens or math.inf):
            self.scorer = replace(self.scorer, options=replace(options, chunk_tokens=settings.chunk_tokens))

    def _name_not_finite_rows(self, examples: Sequence[Example]) -> str:
        """Name the places of the rows whose own loss or gradient is not finite; all of them where it takes more than one."""

        def finite(example: Example) -> bool:
            reference = self._score_reference(list_sides([example]))
            sums, gradients = self._compute_gradients([example], 1, reference)
            return math.isfinite(np.array(sums["loss"]).tolist()[0]) and math.isfinite(measure_global_norm(gradients))

        return list_places([example for example in examples if not finite(example)] or examples)

    @property
    def builds_ahead(self) -> bool:
        """Say whether a micro-batch's graph is built while the one before runs: on a GPU that is not to rest in between.

        Not where all weights are trained: a second total of their gradients would be held meanwhile.
        """
        return self.compiled and self.scorer.options.lazily and self.can_undo and self.pace.share >= 100

    def _note_pass(self, batch: Sequence[Example], seconds: float, stop: StopEvent | None) -> None:
        """Note how long the passes of a batch took, say that it is done, and rest."""
        if self.passes is not None:
            self.passes.note_pass(batch, seconds)
        self.on_pass()
        self.pace.rest(seconds, stop)

    def _compute_gradients(self, batch: Sequence[Example], pairs: int, reference: Logprobs | None) -> tuple[Sums, Any]:
        """Compute the metric sums of `batch`, and the gradient of its share in the mean loss over `pairs`."""
        sides = list_sides(batch)

        def share(policy: Logprobs) -> tuple[mx.array, Sums]:
            x = self._make_loss_input(batch, drop_uncounted(policy, sides), reference)
            out = self.loss(x)
            return out.losses.sum() / pairs, sum_pair_metrics(x, out)

        (_, sums), gradients = self.scorer.value_and_grad(sides, share)
        return sums, gradients

    def _score_reference(self, sides: Sequence[Completion]) -> Logprobs | None:
        """Score the tokens of `sides` that count under the reference; None where the loss takes none."""
        return None if self.reference is None else drop_uncounted(self.reference(sides), sides)

    def _make_loss_input(self, batch: Sequence[Example], policy: Logprobs, reference: Logprobs | None) -> LossInput:
        """Make what the loss sees: log-probabilities of both sides, of the tokens that count, and labels where there are some."""
        desirable = list_labels(batch)
        if reference is None:
            return LossInput(*split_sides(policy), desirable=desirable)
        loss_reference = self.start.reference_for(policy, reference)
        return LossInput(
            *split_sides(policy), *split_sides(loss_reference), noise=self.start.noise, desirable=desirable
        )

    def compare(self, batch: Sequence[Example]) -> tuple[LossInput, LossOutput]:
        """Compute what the loss sees of a batch of pairs, and what it gives; nothing is trained."""
        sides = list_sides(batch)
        policy = drop_uncounted(self.scorer.logprobs(sides), sides)
        x = self._make_loss_input(batch, policy, self._score_reference(sides))
        return x, self.loss(x)

    def evaluate(self, examples: Sequence[Example], stop: StopEvent | None = None) -> dict[str, float]:
        """Compute the metrics over held-out `examples`, named `eval_…`; nothing is trained.

        Raises `Interrupted` when `stop` is requested between two batches.
        """
        own = examples if self.ranks is None else self.ranks.share("evaluate", 0, examples)
        mean = self.sum_metrics(own, stop)
        if self.ranks is not None:
            self.ranks.add_metrics(mean)
        return mean.means(EVAL)

    def sum_metrics(self, examples: Sequence[Example], stop: StopEvent | None = None) -> Mean:
        """Sum the metrics over `examples`; nothing is trained. Raises `Interrupted` as `evaluate`."""
        self.model.eval()
        mean = Mean()
        for index, batch in enumerate(self.batching.split(examples)):
            if index and stop is not None and stop.is_set():
                self.model.train()
                raise Interrupted("the evaluation")
            batch_began = time.monotonic()
            sums = sum_pair_metrics(*self.compare(batch))
            mx.eval(sums)
            mean.add(sums)
            self._note_pass(batch, time.monotonic() - batch_began, stop)
        self.model.train()
        return mean

    def measure_noise(self, batch: Sequence[Example], same: bool) -> None:
        """Measure how much of a log-ratio is rounding. `same`: the policy is the reference, still."""
        assert self.reference is not None
        self.model.eval()
        for micro_batch in self.batching.split(batch):
            sides = list_sides(micro_batch)
            noise = measure_noise(self.scorer, sides, self.reference(sides) if same else None)
            self.start.noise = max(self.start.noise, noise)
        self.model.train()
        log.info("rounding: a log-ratio of n tokens is not to be told from 0 within %.2g·√n nats", self.start.noise)

    def check_start(self, batch: Sequence[Example], compute_dtype: str) -> StartDrift:
        """Measure how far an untrained policy that starts as the reference is from its cached numbers.

        Raises `JobError` when it is further than rounding explains by far: the cached numbers are not this model's.
        """
        assert self.reference is not None
        sides = list_sides(batch)
        self.model.eval()
        start = measure_start_drift(self.scorer, sides, self.reference(sides), compute_dtype)
        self.model.train()
        if start.is_wrong:
            raise JobError(
                f"{start.describe()}: more than {start.wrong:.2g}, which rounding does not explain. The cached reference is "
                "not of this model: look at `prefd cache show`, or move the cache away to have it scored again"
            )
        return start


def list_sides(batch: Sequence[Example]) -> list[Completion]:
    """List the completions of a batch: all chosen, then all rejected."""
    return [example.chosen for example in batch] + [example.rejected for example in batch]


def list_labels(batch: Sequence[Example]) -> mx.array | None:
    """List the labels of a batch of single answers, (B,); None of a batch of pairs."""
    labels = [example.desirable for example in batch if example.desirable is not None]
    return mx.array(labels) if labels else None


def split_sides(both: Logprobs) -> tuple[Logprobs, Logprobs]:
    """Split log-probabilities in the order of `list_sides` into (chosen, rejected)."""
    middle = len(both.tokens) // 2
    return take_rows(both, slice(None, middle)), take_rows(both, slice(middle, None))


def take_rows(both: Logprobs, rows: slice) -> Logprobs:
    """Take some of the rows."""
    measured = both.distribution
    distribution = None if measured is None else TokenDistribution(*(each[rows] for each in measured))
    return MeasuredLogprobs.of(both.tokens[rows], both.mask[rows], distribution)


def drop_uncounted(logprobs: Logprobs, completions: Sequence[Completion]) -> Logprobs:
    """Mask out the tokens of `completions` that are not the assistant's own."""
    if all(completion.own_mask is None for completion in completions):
        return logprobs
    counted_mask = np.zeros(logprobs.mask.shape, np.float32)
    for row, completion in zip(counted_mask, completions):
        row[: len(completion.own)] = completion.own
    mask = logprobs.mask * mx.array(counted_mask)
    measured = logprobs.distribution
    return MeasuredLogprobs.of(logprobs.tokens * mask, mask, None if measured is None else measured.masked(mask))


def pad_rows(values: Sequence[np.ndarray[tuple[int], np.dtype[np.float32]]]) -> Logprobs:
    """Pad rows of different lengths to (B, T) tokens and mask."""
    lengths = np.array([len(value) for value in values])
    tokens = np.zeros((len(values), int(lengths.max())), dtype=np.float32)
    mask = np.arange(tokens.shape[1]) < lengths[:, None]
    tokens[mask] = np.concatenate(values)
    return Logprobs(mx.array(tokens), mx.array(mask.astype(np.float32)))
