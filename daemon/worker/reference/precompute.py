"""Runs the reference pass: scores the completions that the cache lacks, and commits them as they come.

The reference is loaded only when something is missing. A killed pass keeps every batch it committed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from prefd.daemon.runs.phase_outcomes import PrecomputeOutcome
from prefd.daemon.runs.phase_summaries import PrecomputeSummary
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.device import describe_machine
from prefd.daemon.worker.progress import Reporter
from prefd.daemon.worker.rank_start import start_ranks
from prefd.daemon.worker.ranks.checks import check_ranks
from prefd.daemon.worker.ranks.count import read_ranks
from prefd.daemon.worker.ranks.crew import Crew
from prefd.daemon.worker.ranks.mate import LostRank
from prefd.daemon.worker.ranks.pipeline import Pipeline
from prefd.daemon.worker.reference.cache_fill import CacheFill, FillSummary
from prefd.daemon.worker.reference.needed_completions import Needs
from prefd.daemon.worker.reference.pipeline_opening import open_pipeline, read_pipeline_setting
from prefd.daemon.worker.reference.scoring_batches import BatchSize
from prefd.daemon.worker.reference.scoring_pass import open_reference
from prefd.daemon.worker.reference.shared_scoring import SharedScoring, cut_finer
from prefd.daemon.worker.reference.unscored_batches import UnscoredBatches
from prefd.daemon.worker.stopping import StopEvent
from prefd.daemon.worker.xray.report import summarize_doubts

log = logging.getLogger(__name__)

CHUNK_BATCHES = 16
"""So many batches for each rank are taken and claimed at once."""


def precompute(job: RunningJob, stop: StopEvent, began: float | None = None) -> PrecomputeOutcome:
    """Fill the cache with what `job` needs. `began`: when its phase began, in monotonic seconds; None is now.

    Raises `Stopped` after a flush when asked to, `JobError` for bad scores.
    """
    began = time.monotonic() if began is None else began
    needs = Needs.collect(job)
    missing = job.store.missing(list(needs.completions))
    scoring = FillSummary()
    if missing:
        scoring = _score_missing(job, {key: needs.completions[key] for key in missing}, needs.rows, stop)
    line = f"reference: {scoring.scored} of {len(needs.completions)} completions scored"
    if scoring.scored_elsewhere:
        line += f", {scoring.scored_elsewhere} by others meanwhile"
    if scoring.windows is not None:
        line += f"; {scoring.windows.format()}"
    if scoring.pipeline is not None:
        line += f"; {scoring.pipeline.format()}"
    if scoring.ranks > 1:
        line += f"; by {scoring.ranks} ranks"
    log.info("%s", line)
    summary = PrecomputeSummary(
        reference=job.reference.model,
        fingerprint=job.fingerprint.name,
        **dict(needs.audit(missing)),
        scored=scoring.scored,
        scored_elsewhere=scoring.scored_elsewhere,
        seconds=time.monotonic() - began,
        scoring_seconds=scoring.seconds,
        windows=scoring.windows,
        pipeline=scoring.pipeline,
        data=job.data.report.summarize(),
        xray=summarize_doubts(job),
        damage=sorted(job.store.damage.values()),
        machine=describe_machine() if missing else "",
        warnings=scoring.warnings,
        line=line,
    )
    return PrecomputeOutcome(ok=True, reason=line, summary=summary)


def _score_missing(
    job: RunningJob, missing: dict[bytes, Completion], rows: dict[bytes, Example], stop: StopEvent
) -> FillSummary:
    """Score and commit `missing`, but for what others score meanwhile."""
    tokens = sum(len(completion.ids) for completion in missing.values())
    ranks = read_ranks()
    can_share = job.spec.training is None or job.loss.batch_independent  # else training would refuse them afterwards
    check_ranks(job.spec.ranks, job.settings, loading.device(), can_share)
    log.info("loading the reference %s to score %d completions (%d tokens)", job.reference.model, len(missing), tokens)
    with ExitStack() as stack:
        lost: list[str] = []
        warnings: list[str] = []
        crew = None if ranks == 1 else stack.enter_context(open_crew(job, lost))
        pipeline = None if crew is None else open_pipeline(job, crew, warnings)
        if crew is not None and pipeline is None:
            give_whole_reference(job, crew, lost)
        if crew is None and read_pipeline_setting(job.spec):
            warnings.append("reference.pipeline is true, and there is one rank, which has all layers")
        reference = pipeline or open_reference(job, job.run.batches.halvings)
        log.info("scoring: %s", reference.scorer.describe())
        if reference.warning:
            log.warning("%s", reference.warning)
        if crew is not None and reference.windows is not None:
            crew.close()  # one rank reads the windows, and needs the memory
        batch_tokens, chunk_tokens, shared = reference.batch_tokens, reference.chunk_tokens, None
        if crew is not None and reference.windows is None:
            batch_tokens = cut_finer(batch_tokens, tokens, ranks)
            chunk_tokens = batch_tokens * CHUNK_BATCHES * ranks
            shared = None if pipeline else stack.enter_context(SharedScoring(reference, crew, rows, lost))
        size = BatchSize(batch_tokens, 0 if loading.device() == "cpu" else reference.layers_per_run)
        claims = job.store.open_claims()
        unscored = UnscoredBatches(missing, size, job.store, claims, chunk_tokens)
        note = "" if crew is None or reference.windows is not None else crew.describe_size()
        note += ", the layers spread over them" if pipeline else ""
        report = Reporter(job.run, "precompute", len(missing), "completions", cost=tokens, note=note)
        try:
            summary = CacheFill(job, rows, reference, unscored, stop, report, shared=shared).run()
        finally:
            claims.release()
        if isinstance(reference.scorer, Pipeline):
            summary.pipeline = reference.scorer.summarize()
            summary.warnings += lost
        elif crew is not None:
            summary.ranks = 1 if shared is None else len(shared.scored_by)
            if shared is None:
                summary.warnings.append("the reference is scored in windows of its layers, by one rank")
        summary.warnings += warnings
        return summary


@contextmanager
def open_crew(job: RunningJob, lost: list[str]) -> Iterator[Crew]:
    """Start the other ranks of `job`; `lost` gets the reasons of those that cannot be had."""
    with start_ranks(job, "reference", partial(note_loss, lost)) as crew:
        yield crew


def give_whole_reference(job: RunningJob, crew: Crew, lost: list[str]) -> None:
    """Have the other ranks load all of the reference, to score batches with it; `lost` gets the reasons of those that are gone by now."""
    for mate in list(crew.mates):
        try:
            mate.tell({"do": "score", "halvings": job.run.batches.halvings})
        except LostRank as error:
            crew.drop(mate)
            note_loss(lost, str(error))


def note_loss(lost: list[str], reason: str) -> None:
    """Note that the others go on without a rank."""
    log.warning("%s", reason)
    lost.append(f"{reason}: the others have scored without it")
