"""Plans a training before any weight is read, and refuses what cannot be trained."""

from __future__ import annotations

import math

from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.training.metrics import sum_pair_metrics
from prefd.daemon.worker.training.optimizer import make_learning_rate
from prefd.daemon.worker.training.policy import Policy
from prefd.daemon.worker.training.samples import load_prompts
from prefd.daemon.worker.training.schedule import Schedule
from prefd.daemon.worker.training.selection import Selection
from prefd.plugins.conformance.probes import loss_input, random_pairs
from prefd.plugins.metrics import EVAL


def refuse_untrainable(job: SpecifiedJob) -> None:
    """Try the job's training as far as that goes without reading a weight.

    Raises `JobError` for a job that cannot be trained, `LossParameterError` for parameters that the loss does not take,
    `DataError` for prompts that cannot be answered.
    """
    training, schedule = plan_training(job)
    load_prompts(job)
    Policy.build(job, training, schedule.total_steps)


def plan_training(job: SpecifiedJob) -> tuple[TrainingSpec, Schedule]:
    """Plan the job's training and its steps, before any model is opened.

    Raises `JobError` for settings that do not fit the data or the loss, `LossParameterError` for parameters that the loss
    does not take.
    """
    training = job.spec.training
    if training is None:
        raise JobError("the spec has no training: block; it only fills the cache")
    schedule = Schedule.plan(job.data.train, training)
    make_learning_rate(training, schedule.total_steps)
    if Selection.from_spec(training).in_use and not job.data.held_out:
        raise JobError(
            "training selects by the held-out pairs (early_stopping, best_checkpoint, load_best_model_at_end), and the "
            f"{len(job.data.train)} pairs share one prompt, so none is held out; give data.validation a path to others"
        )
    if training.early_stopping is not None:
        interval = training.steps_per_eval or schedule.steps_per_epoch
        if fault := training.early_stopping.too_few(math.ceil(schedule.total_steps / interval)):
            raise JobError(f"training.early_stopping: {fault}")
    _try_loss(job, training)
    return training, schedule


def describe_lone_answers(job: SpecifiedJob, training: TrainingSpec) -> str | None:
    """Say that a loss which looks across its batch has nothing to look at in batches of one; None where it has."""
    if job.loss.batch_independent or training.batch_size > 1:
        return None
    return (
        "the loss compares what is in a batch, and training.batch_size is 1: its measure of the batch is that of one row, which "
        "says little; make it 8 or more"
    )


def _try_loss(job: SpecifiedJob, training: TrainingSpec) -> None:
    """Try the loss on random pairs. Raises `JobError` where it gives no loss for each pair, or lacks a selecting metric."""
    x = loss_input(random_pairs(0), job.loss.needs_reference, unpaired=job.loss.unpaired)
    names = sum_pair_metrics(x, job.loss(x))
    Selection.from_spec(training).record(0, {EVAL + name: 0.0 for name in names})
