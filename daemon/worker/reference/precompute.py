"""Runs the reference pass: scores the completions that the cache lacks, and commits them as they come.

The reference is loaded only when something is missing. A killed pass keeps every batch it committed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from prefd.cache.segments.values import InvalidLogprobs
from prefd.daemon.runs.phase_outcomes import PrecomputeOutcome
from prefd.daemon.runs.phase_summaries import PrecomputeSummary
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.device_trouble import is_device_trouble, is_out_of_memory
from prefd.daemon.worker.errors import JobError, Stopped
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.device import describe_machine
from prefd.daemon.worker.models.pass_length import bound_tokens
from prefd.daemon.worker.models.tiers import Tier, find_tier
from prefd.daemon.worker.pace import Pace
from prefd.daemon.worker.progress import Reporter
from prefd.daemon.worker.reference.needed_completions import Needs
from prefd.daemon.worker.reference.scoring_batches import Batch, ScoringBatches, cut_batches
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Options, Scorer
from prefd.daemon.worker.stopping import StopEvent

log = logging.getLogger(__name__)

BATCH_TOKENS: dict[Tier, int] = {"cpu": 2048, "metal": 2048, "large metal": 4096, "cuda": 16384}
FLUSH_EVERY_S = 15.0
FLUSH_ENTRIES = 4096

Scores = dict[bytes, npt.NDArray[np.float32]]


def precompute(job: RunningJob, stop: StopEvent, began: float | None = None) -> PrecomputeOutcome:
    """Fill the cache with what `job` needs. `began`: when its phase began, in monotonic seconds; None is now.

    Raises `Stopped` after a flush when asked to, `JobError` for bad scores.
    """
    began = time.monotonic() if began is None else began
    needs = Needs.collect(job)
    missing = job.store.missing(list(needs.completions))
    scoring = 0.0
    if missing:
        scoring = _score_missing(job, {key: needs.completions[key] for key in missing}, needs.rows, stop)
    line = f"reference: {len(missing)} of {len(needs.completions)} completions scored"
    log.info("%s", line)
    summary = PrecomputeSummary(
        reference=job.reference.model,
        fingerprint=job.fingerprint.name,
        **dict(needs.audit(missing)),
        scored=len(missing),
        seconds=time.monotonic() - began,
        scoring_seconds=scoring,
        data=job.data.report.summarize(),
        damage=sorted(job.store.damage.values()),
        machine=describe_machine() if missing else "",
        line=line,
    )
    return PrecomputeOutcome(ok=True, reason=line, summary=summary)


def _score_missing(
    job: RunningJob, missing: dict[bytes, Completion], rows: dict[bytes, Example], stop: StopEvent
) -> float:
    """Score and commit `missing`; return the seconds that the forward passes and commits took, loading left out."""
    tokens = sum(len(completion.ids) for completion in missing.values())
    log.info("loading the reference %s to score %d completions (%d tokens)", job.reference.model, len(missing), tokens)
    network: Any = loading.load(job.reference).freeze()
    scorer = fastest_scorer(network, Options.from_spec(job.spec))
    log.info("scoring: %s", scorer.describe())
    report = Reporter(job.run, "precompute", len(missing), "completions", cost=tokens)
    pending: Scores = {}
    began = flushed = time.monotonic()
    max_tokens = max(1, bound_tokens(network, BATCH_TOKENS[find_tier()]) >> job.run.batches.halvings)
    pace = Pace.from_environment(loading.device())
    batches = ScoringBatches(missing, max_tokens, 0 if loading.device() == "cpu" else len(network.layers))
    for batch in batches:
        batch_began = time.monotonic()
        with _committed_where_the_device_fails(job, pending, rows):
            scores = score(scorer, batch)
        pending |= scores
        batches.note_seconds(time.monotonic() - batch_began)
        pace.rest(time.monotonic() - batch_began, stop)
        overdue = time.monotonic() - flushed >= FLUSH_EVERY_S
        if stop.is_set() or overdue or len(pending) >= FLUSH_ENTRIES:
            _commit(job, pending, rows)
            pending, flushed = {}, time.monotonic()
        report.advance(len(batch), cost=sum(len(completion.ids) for _, completion in batch))
        if stop.is_set():
            raise Stopped(f"scored {report.done} of {report.total} completions; they are kept")
    _commit(job, pending, rows)
    return time.monotonic() - began


def batch_by_key(missing: dict[bytes, Completion], max_tokens: int | None = None) -> list[Batch]:
    """Cut `missing` into batches of at most `max_tokens` tokens, answers to one prompt together; None: the device's usual."""
    return cut_batches(missing, max_tokens or BATCH_TOKENS[find_tier()])


def score(scorer: Scorer, batch: Sequence[tuple[bytes, Completion]]) -> Scores:
    """Score one batch: key → (length,) float32 log-probabilities."""
    logprobs = scorer.logprobs([completion for _, completion in batch])
    mx.eval(logprobs)
    values = np.array(logprobs.tokens)
    return {
        key: values[row, : len(completion.ids) - completion.start].copy() for row, (key, completion) in enumerate(batch)
    }


@contextmanager
def _committed_where_the_device_fails(job: RunningJob, pending: Scores, rows: dict[bytes, Example]) -> Iterator[None]:
    """Commit what is `pending` where the device fails in the block, or its memory runs out: it is not scored again then."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_device_trouble(error) or is_out_of_memory(error):
            try:
                _commit(job, pending, rows)
            except JobError as fault:
                log.warning("what was scored since the last commit cannot be kept: %s", fault)
        raise


def _commit(job: RunningJob, scores: Scores, rows: dict[bytes, Example]) -> None:
    try:
        job.store.put(scores)
    except InvalidLogprobs as error:
        raise JobError(
            f"the reference {job.reference.model} gave no usable log-probabilities for {rows[error.key]}: {error}; "
            "nothing of that batch was kept"
        ) from error
    except OSError as error:
        raise JobError(f"the reference cache at {job.cache.path} cannot be written: {error}") from error
