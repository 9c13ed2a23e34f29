"""The training phase: load the policy, go on from the newest checkpoint, step, evaluate, save.

The only model in this process is the policy; the reference is read from the cache.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx
from mlx.optimizers import AdamW, Optimizer

from prefd.cache.reference import MissingEntry
from prefd.daemon.rundir import Outcome
from prefd.daemon.spec import TrainingSpec
from prefd.daemon.worker import models, output
from prefd.daemon.worker.batches import Schedule
from prefd.daemon.worker.checkpoint import Checkpoints, save_adapter
from prefd.daemon.worker.errors import JobError, Stopped
from prefd.daemon.worker.job import Job
from prefd.daemon.worker.metrics import MetricsLog
from prefd.daemon.worker.progress import Reporter
from prefd.daemon.worker.qat import QAT
from prefd.daemon.worker.sources import stored_dtype
from prefd.daemon.worker.stopping import StopEvent
from prefd.daemon.worker.tokens import Completion
from prefd.daemon.worker.trainer import Trainer, padded
from prefd.plugins.types import Logprobs

log = logging.getLogger(__name__)

START_CHECK_PAIRS = 2
SHOWN = ("loss", "rewards/accuracies", "rewards/margins")


def train(job: Job, stop: StopEvent) -> Outcome:
    """Train the job's policy to the end and write what the spec's `output:` asks for. Raises as `fit` does."""
    outcome = fit(job, stop)
    made = output.write(job)  # the policy and the optimizer are out of memory by now
    return replace(outcome, summary=outcome.summary | {name: str(folder) for name, folder in made.items()})


def fit(job: Job, stop: StopEvent) -> Outcome:
    """Train the job's policy and publish its adapter. Raises `Stopped` after a checkpoint when asked to stop,
    `JobError` for what the job's owner can mend.
    """
    training = job.spec.training
    if training is None:
        raise JobError("the spec has no training: block; it only fills the cache")
    began = time.monotonic()
    schedule = Schedule.plan(job.data.train, training)
    loss = job.loss.create(job.spec.loss.params)
    reference = cached_reference(job) if job.loss.schema.needs_reference else None
    mx.random.seed(training.seed)  # decides the adapter's initial values
    model = models.load(job.policy)
    fine_tune = models.make_trainable(model, job.policy, training)
    output.check(job, model)
    stored = getattr(mx, models.DTYPES[stored_dtype(job.policy)])
    qat = QAT.install(model, training.qat, stored, schedule.total_steps)
    optimizer = make_optimizer(training)
    optimizer.init(model.trainable_parameters())
    trainer = Trainer(model, optimizer, loss, reference, training.seed)
    checkpoints = Checkpoints(job.run.checkpoints, training.keep_checkpoints)
    config = fine_tune.adapter_config(job.policy)

    done = checkpoints.restore(model, optimizer)
    if done:
        log.info("going on from the checkpoint of step %d", done)
    elif reference is not None and job.starts_as_reference:
        drift = trainer.check_start(schedule.micro_batches(1)[0][:START_CHECK_PAIRS], models.compute_dtype(job.policy))
        log.info("step 0: policy = reference within %.2g nats per token", drift)
    metrics = MetricsLog(job.run.metrics)
    metrics.truncate_after(done)
    report = Reporter(job.run, "training", schedule.total_steps, "steps", done)
    eval_every = training.steps_per_eval or schedule.steps_per_epoch
    for step in range(done + 1, schedule.total_steps + 1):
        qat.before(step)
        line = _stamp(step, schedule) | trainer.step(step, schedule.micro_batches(step))
        qat.refresh()
        line |= {"learning_rate": float(optimizer.learning_rate.item()), "peak_memory_gb": mx.get_peak_memory() / 1e9}
        last = step == schedule.total_steps
        if last or step % training.steps_per_report == 0 or step == 1:
            metrics.append(line)
        if job.data.held_out and (last or step % eval_every == 0):
            metrics.append(_stamp(step, schedule) | trainer.evaluate(job.data.held_out, training.batch_size))
        if last or step % training.save_every == 0 or stop.is_set():
            checkpoints.save(step, model, optimizer, config)
        report.advance(1, {name: line[name] for name in SHOWN})
        if stop.is_set() and not last:
            raise Stopped(f"stopped after step {step} of {schedule.total_steps}; its checkpoint is kept")
    save_adapter(job.run.adapter, model, config)
    return _outcome(job, schedule, time.monotonic() - began)


def make_optimizer(training: TrainingSpec) -> Optimizer:
    """AdamW as its paper has it: MLX's own leaves the bias correction off."""
    return AdamW(training.learning_rate, weight_decay=training.weight_decay, bias_correction=True)


def cached_reference(job: Job) -> Any:
    """Reads batches of reference log-probabilities from the cache, every value checked against its checksum."""

    def scores(completions: Sequence[Completion]) -> Logprobs:
        try:
            return padded(job.store.get([job.key(completion) for completion in completions]))
        except MissingEntry as error:
            raise JobError(f"{error.args[0]}; run the job again and its precompute pass will score it") from error

    return scores


def _stamp(step: int, schedule: Schedule) -> dict[str, float]:
    return {"step": step, "epoch": round(schedule.epoch(step), 4)}


def _outcome(job: Job, schedule: Schedule, seconds: float) -> Outcome:
    lines = list(job.run.read_metrics())
    steps = [line for line in lines if "loss" in line]
    evaluations = [line for line in lines if "eval_loss" in line]
    summary = {
        "steps": schedule.total_steps,
        "pairs": len(schedule.examples),
        "seconds": seconds,
        "first": steps[0],
        "last": steps[-1],
        "eval": evaluations[-1] if evaluations else None,
        "adapter": str(job.run.adapter),
        "peak_memory_gb": mx.get_peak_memory() / 1e9,
        "data": job.data.report.to_json(),
    }
    return Outcome(True, f"trained {schedule.total_steps} steps on {len(schedule.examples)} pairs", summary)
