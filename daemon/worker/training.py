"""The training phase: load the policy, go on from the newest checkpoint, step, evaluate, save.

The only model in this process is the policy; the reference is read from the cache.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from prefd.cache.reference import MissingEntry
from prefd.daemon.rundir import Outcome
from prefd.daemon.worker import models
from prefd.daemon.worker.checkpoint import Checkpoints
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import Job
from prefd.daemon.worker.optim import make_optimizer
from prefd.daemon.worker.selection import Selection
from prefd.daemon.worker.stopping import StopEvent
from prefd.daemon.worker.tokens import Completion
from prefd.daemon.worker.trainer import Trainer, padded
from prefd.daemon.worker.training_run import Run, plan
from prefd.plugins.types import Logprobs

log = logging.getLogger(__name__)

START_CHECK_PAIRS = 2


def train(job: Job, stop: StopEvent) -> Outcome:
    """Train the job's policy to the end. Raises `Stopped` after a checkpoint when asked to stop, `JobError` for what
    the job's owner can mend.
    """
    began = time.monotonic()
    training, schedule = plan(job)
    loss = job.loss.create(job.spec.loss.params)
    reference = cached_reference(job) if job.loss.schema.needs_reference else None
    mx.random.seed(training.seed)  # decides the adapter's initial values
    model = models.load(job.policy)
    fine_tune = models.make_trainable(model, job.policy, training)
    optimizer = make_optimizer(training, schedule.total_steps, model)
    optimizer.init(model.trainable_parameters())
    trainer = Trainer(model, optimizer, loss, reference, training.seed, training.max_grad_norm)
    run = Run(
        job,
        training,
        schedule,
        trainer,
        Checkpoints(job.run.checkpoints, training.keep_checkpoints),
        fine_tune.adapter_config(job.policy),
        Selection.of(training),
    )
    done = run.restore()
    if not done:
        if reference is not None and job.starts_as_reference:
            drift = trainer.check_start(
                schedule.micro_batches(1)[0][:START_CHECK_PAIRS], models.compute_dtype(job.policy)
            )
            log.info("step 0: policy = reference within %.2g nats per token", drift)
        run.check_metrics()
    run.go_on(stop)
    run.publish()
    return run.outcome(time.monotonic() - began)


def cached_reference(job: Job) -> Any:
    """Reads batches of reference log-probabilities from the cache, every value checked against its checksum."""

    def scores(completions: Sequence[Completion]) -> Logprobs:
        try:
            return padded(job.store.get([job.key(completion) for completion in completions]))
        except MissingEntry as error:
            raise JobError(f"{error.args[0]}; run the job again and its precompute pass will score it") from error

    return scores
