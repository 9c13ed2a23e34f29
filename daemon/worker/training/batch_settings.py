"""Chooses how much of a training step runs at once, so that it fits into memory; where the spec leaves that open.

None of it changes a gradient by more than rounding, so it is the machine's business and not the job's. What is chosen
depends on the memory that the machine has, not on what is free now: the same job is cut alike tomorrow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from prefd.daemon.runs.batch_record import BatchRecord, BatchSettings
from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.models.memory import format_gib, machine
from prefd.daemon.worker.models.tiers import Tier, find_tier
from prefd.daemon.worker.training.memory import Estimate

log = logging.getLogger(__name__)

BATCH_TOKENS: dict[Tier, int] = {"cpu": 1024, "metal": 2048, "large metal": 4096, "cuda": 16384}
"""Tokens of a micro-batch where neither the spec nor memory says fewer: a CPU gains nothing from more, a Mac little."""
SATURATING_TOKENS: dict[Tier, int] = {"cpu": 512, "metal": 1024, "large metal": 2048, "cuda": 2048}
"""Tokens that keep the device busy. With fewer a pass is slower, so layers are recomputed before batches go below it."""
SHORTEST_CHUNK = 256
SHARE_OF_MEMORY = 0.8
"""What of the machine's memory a job may be estimated to take."""

EstimateFor = Callable[[BatchSettings], Estimate]


@dataclass(frozen=True)
class ChosenBatches:
    """ChosenBatches holds the settings of a job's batches, and what its owner is told of them."""

    settings: BatchSettings
    note: str | None = None
    """Why they are not what the spec and the device's defaults say; None where they are."""


def choose_batches(
    training: TrainingSpec,
    record: BatchRecord,
    estimate: EstimateFor,
    parallel: int = 1,
    bound: Callable[[int], int] = lambda tokens: tokens,
) -> ChosenBatches:
    """Choose the first settings, of those that the spec leaves open, whose estimate fits; `parallel` jobs share the memory.

    `bound` is as in `find_usual_settings`. What was chosen for this run before is kept, and each halving since, for want of memory, is
    carried out.
    """
    usual = find_usual_settings(training)
    chosen = record.read_choice()
    if chosen is None:
        usual = find_usual_settings(training, bound)
        chosen = choose_fitting(training, usual, estimate, parallel)
        record.write_choice(chosen)
    settings = chosen
    for _ in range(record.halvings):
        settings = halve(settings)
    log.info("batches: %s", settings.describe())
    usual_tokens = BATCH_TOKENS[find_tier()]
    fits = not record.halvings and estimate(usual).total <= count_room(parallel)
    if fits and not training.batch_tokens and settings.batch_tokens < usual_tokens:
        return ChosenBatches(
            settings,
            f"run with batch_tokens {settings.batch_tokens:,} in place of {usual_tokens:,}, so that the display need not wait for "
            "this GPU, by how long a layer took when the job began; the gradients are the same",
        )
    if settings == usual or fits:
        return ChosenBatches(settings)
    return ChosenBatches(
        settings,
        f"run with {settings.describe()}, chosen for {_explain_choice(record, estimate, usual)}; the gradients are the same",
    )


def halve(settings: BatchSettings) -> BatchSettings:
    """Make batches that take about half: of half the tokens, or where those are few, in other ways too."""
    few_tokens = settings.batch_tokens <= SATURATING_TOKENS[find_tier()]
    return BatchSettings(
        max(1, settings.batch_tokens // 2),
        settings.grad_checkpoint or few_tokens,
        max(SHORTEST_CHUNK, settings.chunk_tokens // 2)
        if few_tokens and settings.grad_checkpoint
        else settings.chunk_tokens,
    )


def find_usual_settings(training: TrainingSpec, bound: Callable[[int], int] = lambda tokens: tokens) -> BatchSettings:
    """Find the settings that the spec and the device's defaults say, whatever memory there is.

    `bound`: a number of tokens → how many of them the device may compute at once; the spec's own number is left alone.
    """
    batch_tokens = training.batch_tokens or bound(BATCH_TOKENS[find_tier()])
    return BatchSettings(batch_tokens, training.grad_checkpoint, training.chunk_tokens)


def count_room(parallel: int = 1) -> int:
    """Return the bytes that a job may be estimated to take, where `parallel` jobs share the memory."""
    return int(SHARE_OF_MEMORY * machine()[0] / parallel)


def choose_fitting(
    training: TrainingSpec, usual: BatchSettings, estimate: EstimateFor, parallel: int = 1
) -> BatchSettings:
    """Return the first settings from `usual` on whose estimate fits, where `parallel` jobs share the memory; the smallest where none does."""
    room, settings = count_room(parallel), usual
    for settings in _list_settings(training, usual):
        if estimate(settings).total <= room:
            return settings
    return settings


def _list_settings(training: TrainingSpec, usual: BatchSettings) -> Iterator[BatchSettings]:
    """List the settings to try, the fastest first; what the spec says stays as it is."""
    set_fields = training.model_fields_set
    busy = SATURATING_TOKENS[find_tier()]
    sizes = [usual.batch_tokens]
    while "batch_tokens" not in set_fields and sizes[-1] > 128:
        sizes.append(sizes[-1] // 2)
    for tokens in (size for size in sizes if size == usual.batch_tokens or size >= busy):
        yield replace(usual, batch_tokens=tokens)
    recomputing = usual if "grad_checkpoint" in set_fields else replace(usual, grad_checkpoint=True)
    for tokens in sizes:
        yield replace(recomputing, batch_tokens=tokens)
    smallest = replace(recomputing, batch_tokens=sizes[-1])
    while "chunk_tokens" not in set_fields and smallest.chunk_tokens > SHORTEST_CHUNK:
        smallest = replace(smallest, chunk_tokens=smallest.chunk_tokens // 2)
        yield smallest


def _explain_choice(record: BatchRecord, estimate: EstimateFor, usual: BatchSettings) -> str:
    """Say what the settings were chosen for, and by what: ends for want of memory or by the GPU, or the estimate."""
    for_memory, by_device = record.count_halvings("memory"), record.count_halvings("device")
    ends = [f"memory ran out {_count_times(for_memory)} with more"] if for_memory else []
    ends += [f"the GPU ended longer passes {_count_times(by_device)}"] if by_device else []
    cause = ", and ".join(ends) or f"estimated at {format_gib(estimate(usual).total)} with {usual.describe()}"
    return f"{'this machine' if by_device else 'the memory of this machine'} ({cause})"


def _count_times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
