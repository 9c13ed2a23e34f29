"""Scores a job's pairs with the policy that it has trained: one forward pass, the reference read from the cache, nothing trained.

What it writes is in `runs/<id>/pairs/` (runs/pair_files.py). The numbers are those of the job's own evaluation, pair by pair.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from prefd.daemon.home.layout import Home
from prefd.daemon.runs.pair_answers import PairsHead, PairsMeans, PairsProgress
from prefd.daemon.runs.pair_files import PairFiles
from prefd.daemon.runs.pair_table import NUMBERS, write_table
from prefd.daemon.worker.data.decoding import decode_side
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.histogram import bin_margins
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import memory
from prefd.daemon.worker.training.examples_digest import digest_examples
from prefd.daemon.worker.training.pair_scores import Columns, score_each_pair
from prefd.daemon.worker.training.trained_policy import load_trained_policy, require_trained_data
from prefd.daemon.worker_tasks.inputs import PairScoringInput

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.5


@dataclass
class ProgressWriter:
    """Writes at most twice a second how many of `total` pairs are scored."""

    files: PairFiles
    total: int
    done: int = 0
    _began: float = field(default_factory=time.monotonic)
    _written_at: float = float("-inf")

    def advance(self, count: int) -> None:
        """Count `count` more pairs as scored."""
        self.done += count
        now = time.monotonic()
        if self.done < self.total and now - self._written_at < WRITE_EVERY_S:
            return
        self._written_at = now
        rate = self.done / (now - self._began) if self.done and now > self._began else None
        eta = (self.total - self.done) / rate if rate else None
        self.files.write_progress(PairsProgress(done=self.done, total=self.total, rate=rate, eta_s=eta))


def score_pairs(home: Home, request: PairScoringInput) -> PairsHead:
    """Score the pairs of a job, write table and head, and return the head.

    Raises `JobError` for a job without a trained policy, and where pairs, weights or cache are not what it was trained with.
    """
    job = RunningJob.load(home, request.job)
    outcome = job.run.outcome("training")
    if outcome is None or not outcome.ok:
        raise JobError(
            f"job {request.job} has trained no policy to the end, so there is nothing to score its pairs with"
        )
    if job.loss.unpaired:
        raise JobError(f"job {request.job} learnt from single answers with a label, and has no pairs to score")
    files = PairFiles(job.run)
    files.folder.mkdir(exist_ok=True)
    memory.bound_device_memory(job.parallel)
    remark = require_trained_data(job, outcome.summary)
    trainer = load_trained_policy(job, outcome.summary)
    progress = ProgressWriter(files, len(job.examples))
    progress.advance(0)
    train = score_each_pair(trainer, job.data.train, progress.advance)
    held_out = score_each_pair(trainer, job.data.held_out, progress.advance) if job.data.held_out else {}
    head = make_head(job, outcome.summary.adapter_step, train, held_out, remark)
    files.forget_head()
    write_table(files.table, _list_rows(job, train, held_out))
    files.write_head(head)
    return head


def make_head(job: RunningJob, step: int | None, train: Columns, held_out: Columns, remark: str | None) -> PairsHead:
    """Make the head of a table with these columns."""
    margins = [columns["margin"] if columns else np.empty(0) for columns in (train, held_out)]
    return PairsHead(
        job=job.run.job,
        scored_at_step=step,
        scored_at=time.time(),
        compares_with=job.reference.model if job.loss.needs_reference else None,
        train=summarize(train),
        held_out=summarize(held_out) if held_out else None,
        histogram=bin_margins(*margins),
        not_finite=sum(int((~np.isfinite(each)).sum()) for each in margins),
        notes=[*_list_notes(job), *filter(None, [remark])],
    )


def summarize(columns: Columns) -> PairsMeans:
    """Take the means over the pairs."""
    right = columns["margin"] > 0
    return PairsMeans(
        pairs=len(right),
        wrong=int((~right).sum()),
        accuracy=float(right.mean()),
        margin=_take_mean(columns["margin"]),
        loss=_take_mean(columns["loss"]),
    )


def _take_mean(values: npt.NDArray[np.float64]) -> float | None:
    return float(values.mean()) if np.isfinite(values).all() else None


def _list_notes(job: RunningJob) -> Iterator[str]:
    """Yield what is to be known of the numbers, which depends on the losses."""
    names = [weighted.name for weighted in job.spec.losses.values()]
    preferring = [name for name in names if job.plugins.losses[name].schema.preference]
    if not job.loss.needs_reference:
        yield f"{' + '.join(names)} takes no reference: a margin says what the policy alone prefers"
    if not preferring:
        yield f"{' + '.join(names)} compares no pair: its rewards are the log-probabilities of the answers"
    elif len(names) > 1:
        yield f"rewards and margins are those of {preferring[0]}, the first loss of the mixture that compares a pair; the loss is of all"
    if not job.loss.batch_independent:
        yield "the loss looks across its batch: a pair's loss is that beside the pairs that it was evaluated with"


def _list_rows(job: RunningJob, train: Columns, held_out: Columns) -> Iterator[dict[str, object]]:
    for examples, columns, is_held_out in ((job.data.train, train, False), (job.data.held_out, held_out, True)):
        yield from _list_rows_of(job, examples, columns, is_held_out)


def _list_rows_of(
    job: RunningJob, examples: Sequence[Example], columns: Columns, held_out: bool
) -> Iterator[dict[str, object]]:
    for index, example in enumerate(examples):
        prompt, chosen = decode_side(job.tokenizer, example.chosen)
        _, rejected = decode_side(job.tokenizer, example.rejected)
        yield {
            "row": example.row,
            "place": str(example),
            "held_out": held_out,
            "pair": digest_examples([example])[:32],
            **{name: float(columns[name][index]) if name in columns else None for name in NUMBERS},
            "prompt_tokens": example.chosen.start,
            "chosen_tokens": int(example.chosen.own.sum()),
            "rejected_tokens": int(example.rejected.own.sum()),
            "prompt": prompt,
            "chosen_text": chosen,
            "rejected_text": rejected,
        }
