"""Compares a reference pass before training with `reference.live: adapter_off`, by the tokens that each of them runs.

Both run the same model over the same answers, so the difference is in what they run twice. A pass runs a prompt once for all its
answers; beside training it runs once for each pair. With `store: false` all of it runs again whenever a pair comes again. And a
pass opens the model a second time.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from prefd.daemon.home.layout import Home
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.reference.needed_completions import Needs
from prefd.daemon.worker.scoring.plan import count_segment_tokens
from prefd.daemon.worker_tasks.answers import LiveComparison


@dataclass(frozen=True)
class _Work:
    """Tokens that are run to score what a job lacks, each prompt as often as it runs."""

    before: int
    beside: int
    """Once, as with `store: true`."""
    beside_each_time: int
    """Of the pairs that are not cached whole, for one time that all of them come."""


def compare_live(job: SpecifiedJob, needs: Needs, missing: Collection[bytes], seconds: float) -> LiveComparison | None:
    """Compare for a job whose reference takes `seconds` to score `missing` before training; None where it cannot be live."""
    spec = job.spec
    if spec.training is None or spec.named_reference is not None or spec.explain_no_live_reference() is not None:
        return None
    if not job.loss.needs_reference:
        return None
    work = _count_work(job, needs, set(missing))
    opening = read_opening_seconds(job.home, job.fingerprint.name) if missing else 0.0
    a_token = seconds / work.before if work.before else 0.0
    return LiveComparison(
        before_s=seconds + (opening or 0.0),
        opening_s=opening,
        beside_s=a_token * work.beside,
        unkept_s=a_token * work.beside_each_time * _count_times(job),
        epochs=_count_epochs(job),
        chosen=spec.has_live_reference,
    )


def _count_work(job: SpecifiedJob, needs: Needs, missing: set[bytes]) -> _Work:
    segments = {key: count_segment_tokens(needs.completions[key]) for key in missing}
    prompts = {_read_prompt(needs, key): needs.completions[key].start for key in missing}
    beside, each_time, scored = 0, 0, set[bytes]()
    for example in job.examples:
        lacking = {key for key in map(job.key, (example.chosen, example.rejected)) if key in missing}
        if lacking:
            each_time += example.chosen.start + sum(segments[key] for key in lacking)
        if new := lacking - scored:
            beside += example.chosen.start + sum(segments[key] for key in new)
        scored |= lacking
    return _Work(sum(prompts.values()) + sum(segments.values()), beside, each_time)


def _read_prompt(needs: Needs, key: bytes) -> bytes:
    completion = needs.completions[key]
    return completion.ids[: completion.start].tobytes()


def _count_epochs(job: SpecifiedJob) -> float:
    """Count how often training goes through its pairs."""
    training = job.spec.training
    assert training is not None
    if training.iters is None:
        return training.epochs or 1.0
    steps = math.ceil(len(job.data.train) / (training.batch_size * training.gradient_accumulation_steps))
    return training.iters / steps


def _count_times(job: SpecifiedJob) -> float:
    """Count how often a pair comes, those of the first step and of evaluations with the others: once an epoch, at least once."""
    return max(1.0, _count_epochs(job))


def read_opening_seconds(home: Home, fingerprint: str) -> float | None:
    """Read what the newest pass of the reference in this home took besides scoring: to start, to read the model; None without one."""
    seconds = None
    for folder in sorted(home.runs.glob("*"), key=lambda path: path.stat().st_mtime):
        outcome = RunDir(folder).outcome("precompute")
        if outcome is not None and outcome.summary.fingerprint == fingerprint and outcome.summary.scoring_seconds:
            seconds = max(0.0, outcome.summary.seconds - outcome.summary.scoring_seconds)
    return seconds
