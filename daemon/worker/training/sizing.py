"""Sizes a training before it runs: the batches that fit this machine, and the memory that they are estimated to take.

No weight is read for it, so a spec that is still being written is sized in a fraction of a second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlx.optimizers import Optimizer

from prefd.daemon.runs.batch_record import BatchSettings
from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.objective import Objective
from prefd.daemon.worker.scoring.scorer import Options
from prefd.daemon.worker.training import memory
from prefd.daemon.worker.training.batch_settings import EstimateFor, choose_fitting, find_usual_settings
from prefd.daemon.worker.training.optimizer import make_optimizer
from prefd.daemon.worker.training.plan import plan_training
from prefd.daemon.worker.training.policy import Policy
from prefd.daemon.worker.training.schedule import Batching, Schedule
from prefd.daemon.worker.training.step_keeper import count_kept_bytes, is_small


@dataclass(frozen=True)
class Sizing:
    """Sizing holds how a training would be cut here, and what it would take."""

    schedule: Schedule
    settings: BatchSettings
    usual: bool
    """Whether the settings are what the spec and the device's defaults say."""
    estimate: memory.Estimate
    warning: str | None
    """Why it may not fit, None where it does."""


def size_training(job: SpecifiedJob) -> Sizing:
    """Size the training of `job`, as its worker will; on a slow GPU that may choose shorter passes, once it has measured a layer.

    Raises `JobError` for what cannot be trained.
    """
    training, schedule = plan_training(job)
    policy = Policy.build(job, training, schedule.total_steps)
    optimizer = make_optimizer(training, schedule.total_steps, policy.model)
    optimizer.init(policy.model.trainable_parameters())
    estimate_for = make_estimator(job, training, policy, optimizer)
    usual = find_usual_settings(training)
    settings = choose_fitting(training, usual, estimate_for, job.parallel)
    estimate = estimate_for(settings)
    try:
        warning = memory.check(estimate, training)
    except JobError as error:
        warning = str(error)
    return Sizing(schedule, settings, settings == usual, estimate, warning)


def make_estimator(job: SpecifiedJob, training: TrainingSpec, policy: Policy, optimizer: Optimizer) -> EstimateFor:
    """Make the function that estimates what training takes with given batch settings."""
    kept_bytes = count_kept_bytes(policy.model, optimizer.state)
    if not is_small(kept_bytes, job.parallel):
        kept_bytes = 0  # such a state is kept where there is room besides, and never makes batches smaller

    samples = job.spec.eval_samples
    answer_tokens = 0 if samples is None else job.spec.data.max_length + samples.max_tokens

    def estimate_for(settings: BatchSettings) -> memory.Estimate:
        batching = make_batching(training, job.loss, settings)
        options = Options.from_spec(job.spec, settings)
        return memory.estimate(
            policy.model, optimizer.state, job.examples, batching, options, policy.qat.nbytes, kept_bytes, answer_tokens
        )

    return estimate_for


def make_options(job: SpecifiedJob, training: TrainingSpec, settings: BatchSettings) -> Options:
    """Make the options of the policy's scorer; it measures distributions where the loss needs them, or the job logs them."""
    measured = training.token_metrics or job.loss.needs_distribution
    return replace(Options.from_spec(job.spec, settings), measured=measured)


def make_batching(training: TrainingSpec, loss: Objective, settings: BatchSettings) -> Batching:
    """Make micro-batches of bounded tokens, or the pairs as they come where `loss` looks across its batch."""
    return Batching(training.batch_size, settings.batch_tokens if loss.batch_independent else None)
