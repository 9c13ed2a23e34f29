"""Counts for a job's report which of its pairs to doubt: between the reference's pass and training, or before a training without one."""

from __future__ import annotations

import logging
import time

from prefd.daemon.runs.xray_summary import XRaySummary
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.xray.counts import measure_length_bias, view_reference
from prefd.daemon.worker.xray.examination import KINDS, Examination
from prefd.plugins.errors import describe_exception

log = logging.getLogger(__name__)

MOST_PAIRS = 50_000
"""Pairs up to which they are examined for a report, which takes some ten seconds then (9,000 take one second of a CPU)."""
SHOWN = 3
"""Pairs whose places are named: those to look at first."""


def summarize_doubts(job: SpecifiedJob, rows_alone: bool = False, most_pairs: int = MOST_PAIRS) -> XRaySummary | None:
    """Summarize which of the job's pairs to doubt; None where its loss learns from single answers.

    `rows_alone`: whether the reference's scores are left aside. It raises nothing: what cannot be examined is trained on all the same.
    """
    if job.loss.unpaired:
        return None
    total = len(job.examples)
    if total > most_pairs:
        return XRaySummary(
            pairs=total, fault=f"more than {most_pairs:,} pairs are not examined by themselves: `prefd xray` does it"
        )
    began = time.monotonic()
    try:
        summary = _examine(job, rows_alone)
    except Exception as error:  # it decides nothing, so it must not end the job either
        log.exception("the pairs cannot be examined")
        return XRaySummary(pairs=total, fault=f"the pairs cannot be examined: {describe_exception(error)}")
    summary = summary.model_copy(update={"seconds": time.monotonic() - began})
    for line in summary.describe():
        log.info("xray: %s", line)
    return summary


def _examine(job: SpecifiedJob, rows_alone: bool) -> XRaySummary:
    examination = Examination(job, rows_alone)
    remarks_by_kind = {kind: examination.find(kind) for kind in KINDS}
    order = dict.fromkeys(index for kind in ("contradictions", "suspects") for index in remarks_by_kind[kind])
    reference, predictability = view_reference(examination.pairs), examination.predictability
    return XRaySummary(
        pairs=len(job.examples),
        found={kind: len(indexes) for kind, indexes in remarks_by_kind.items()},
        first=[str(job.examples[index]) for index in list(order)[:SHOWN]],
        longer_accuracy=measure_length_bias(examination.pairs).accuracy,
        reference_accuracy=None if reference is None else reference.accuracy,
        predicted_accuracy=None if predictability is None else predictability.accuracy,
    )
