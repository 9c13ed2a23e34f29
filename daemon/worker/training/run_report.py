"""Makes the report of a run that has trained to its end: its numbers, and all that was warned of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlx.core as mx

from prefd.daemon.runs.phase_outcomes import TrainingOutcome
from prefd.daemon.runs.phase_summaries import BestEvaluation, TrainingSummary
from prefd.daemon.runs.xray_summary import XRaySummary
from prefd.daemon.worker.models.device import describe_machine
from prefd.daemon.worker.training.adapter_off import AdapterOffReference
from prefd.daemon.worker.training.chosen_likelihood import describe_falling_chosen
from prefd.daemon.worker.training.zero_gradient import describe_zero_gradients
from prefd.plugins.metrics import EVAL_LOSS, LOSS

if TYPE_CHECKING:
    from prefd.daemon.worker.training.run import Run


def make_outcome(run: Run, seconds: float, xray: XRaySummary | None = None) -> TrainingOutcome:
    """Make the job's report, with the numbers of its first and last step and all that was warned of; `xray` as it has it."""
    lines = list(run.job.run.read_metrics())
    steps = [line for line in lines if LOSS in line]
    evaluations = [line for line in lines if EVAL_LOSS in line]
    run.warn(run.keeper.describe())
    reference = run.trainer.reference
    run.warn(describe_falling_chosen(lines))
    run.warn(describe_zero_gradients(steps, run.step))
    run.warn(None if run.samples is None else run.samples.describe_faults())
    run.warn(None if run.trainer.ranks is None else run.trainer.ranks.describe_drifts())
    summary = TrainingSummary(
        steps=run.step,
        pairs=len(run.schedule.examples),
        seconds=seconds,
        first=steps[0] if steps else None,  # None: metrics.jsonl was taken away after the last step
        last=steps[-1] if steps else None,
        eval=evaluations[-1] if evaluations else None,
        best=_summarize_best(run),
        warnings=run.warnings,
        adapter=str(run.job.run.adapter),
        adapter_step=run.adapter_step,
        peak_memory_gb=mx.get_peak_memory() / 1e9,
        machine=describe_machine(),
        log_ratio_noise=run.trainer.start.noise,
        data=run.job.data.report.summarize(),
        xray=xray,
        pairs_sha256=run.data_sha256,
        weights_sha256=run.weights_sha256,
        adapter_off=reference.summarize() if isinstance(reference, AdapterOffReference) else None,
        samples=None if run.samples is None else run.samples.summarize(),
    )
    reason = f"trained {run.step} steps on {len(run.schedule.examples)} pairs"
    if run.trainer.ranks is not None:
        reason += f" by {run.trainer.ranks.crew.describe_size()}"
    if run.adapter_step != run.step:
        reason += f"; the adapter is the best one, of step {run.adapter_step}"
    if run.selection.stop:
        reason += f"; {run.selection.explain_stop()}"
    return TrainingOutcome(ok=True, reason=reason, summary=summary)


def _summarize_best(run: Run) -> BestEvaluation | None:
    best = run.selection.best
    if best is None or best.value is None:
        return None
    checkpoint = str(run.checkpoints.path(best.step))
    return BestEvaluation(metric=best.metric, value=best.value, step=best.step, checkpoint=checkpoint)
