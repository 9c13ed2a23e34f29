"""Loads the policy that a job has trained, into the very trainer that evaluated it: with its batches, its rounding, its reference."""

from __future__ import annotations

import logging

import mlx.core as mx

from prefd.daemon.runs.phase_summaries import TrainingSummary
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.outputs.adapter import WEIGHTS
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.training.batch_settings import choose_batches
from prefd.daemon.worker.training.examples_digest import digest_examples
from prefd.daemon.worker.training.optimizer import make_optimizer
from prefd.daemon.worker.training.plan import plan_training
from prefd.daemon.worker.training.policy import Policy
from prefd.daemon.worker.training.sizing import make_batching, make_estimator, make_options
from prefd.daemon.worker.training.start import Start
from prefd.daemon.worker.training.train import open_reference_scores
from prefd.daemon.worker.training.trainer import Trainer
from prefd.plugins.conformance.kinks import jumps_at_reference

log = logging.getLogger(__name__)


def load_trained_policy(job: RunningJob, summary: TrainingSummary) -> Trainer:
    """Load the policy of `job`, whose training `summary` is of; the reference is read from the cache, or is that policy with its adapter off.

    Raises `JobError` where the model cannot be loaded as it was, or its adapter is not there.
    """
    training, schedule = plan_training(job)
    policy = Policy.build(job, training, schedule.total_steps)
    weights = job.run.adapter / WEIGHTS
    if not weights.is_file():
        raise JobError(f"{weights} is not there, so there is no policy to score with")
    try:
        policy.model.load_weights(str(weights), strict=False)
    except (RuntimeError, ValueError, OSError) as error:
        raise JobError(f"{weights} cannot be loaded: {error}") from error
    optimizer = make_optimizer(training, schedule.total_steps, policy.model)
    optimizer.init(policy.model.trainable_parameters())
    batches = choose_batches(training, job.run.batches, make_estimator(job, training, policy, optimizer), job.parallel)
    mx.eval(policy.model.parameters())
    policy.qat.begin_step(summary.adapter_step or 0)
    scorer = fastest_scorer(policy.model, make_options(job, training, batches.settings))
    reference = open_reference_scores(job, policy.model, lambda: scorer)
    log.info("scoring: %s", scorer.describe())
    return Trainer(
        scorer,
        optimizer,
        job.loss,
        reference,
        make_batching(training, job.loss, batches.settings),
        start=Start(noise=summary.log_ratio_noise, shielded=reference is not None and jumps_at_reference(job.loss)),
    )


def require_trained_data(job: RunningJob, summary: TrainingSummary) -> str | None:
    """Check that pairs and weights are those that the job was trained with, or raise `JobError`.

    Returns a remark where an earlier version trained it, which kept no digest of them.
    """
    number, data_changes = job.run.root.name, [change for change in job.changes if change.startswith("data: ")]
    if summary.pairs_sha256 and digest_examples(job.examples) != summary.pairs_sha256:
        causes = (
            "; ".join(job.changes) or f"the tokenizer of {job.spec.model}, or this version of prefd, gives other tokens"
        )
        raise JobError(
            f"the pairs are not those that job {number} was trained on: {causes}. Put that back as it was, or train again: "
            f"`prefd retry {number} --fresh`"
        )
    if not summary.pairs_sha256 and data_changes:
        raise JobError(
            f"the pairs may not be those that job {number} was trained on: {'; '.join(data_changes)}. Put that back as it was"
        )
    weights = summary.weights_sha256
    if weights and job.identify(job.policy).identity["weights"] != weights:
        raise JobError(
            f"the weights of {job.spec.model} are not those that job {number} was trained from; put them back as they were"
        )
    if summary.pairs_sha256:
        return None
    return "an earlier version of prefd trained the job and kept no digest of its pairs: that they are the same is not known"
