"""The first steps of a job's training, in this process: their losses, with references from wherever a test has them."""

from __future__ import annotations

import mlx.core as mx

from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.fine_tune import make_trainable
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.training.optimizer import make_optimizer
from prefd.daemon.worker.training.schedule import Batching, Schedule
from prefd.daemon.worker.training.start import Start
from prefd.daemon.worker.training.trainer import ReferenceScores, Trainer

STEPS = 20


def trainer_of(job: RunningJob, reference: ReferenceScores | None) -> Trainer:
    """The trainer of `job`, before its first step."""
    assert job.spec.training is not None
    mx.random.seed(job.spec.training.seed)
    model = loading.load(job.policy)
    make_trainable(model, job.policy, job.spec.training)
    schedule = Schedule.plan(job.data.train, job.spec.training)
    optimizer = make_optimizer(job.spec.training, schedule.total_steps, model)
    return Trainer(fastest_scorer(model), optimizer, job.loss, reference, Batching(2, 512))


def losses(job: RunningJob, reference: ReferenceScores, steps: int = STEPS, start: Start | None = None) -> list[float]:
    """The first losses of `job`'s training with references from `reference`, which is its policy's start; `start`: in
    place of what is measured of it.
    """
    assert job.spec.training is not None
    trainer = trainer_of(job, reference)
    schedule = Schedule.plan(job.data.train, job.spec.training)
    if start is None:
        trainer.measure_noise(schedule.pairs(1), same=True)
        trainer.start.unmoved = True
    else:
        trainer.start = start
    return [trainer.step(step, schedule.pairs(step))["loss"] for step in range(1, steps + 1)]
