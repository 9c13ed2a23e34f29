"""The training phase: load the policy, go on from the newest checkpoint, step, evaluate, save.

The only model in this process is the policy; the reference is read from the cache.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import mlx.core as mx

from prefd.cache.reference import MissingEntry
from prefd.daemon.runs.phase_outcomes import TrainingOutcome
from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import RunningJob, SpecifiedJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.objective import Objective
from prefd.daemon.worker.outputs import outputs
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Options
from prefd.daemon.worker.stopping import StopEvent
from prefd.daemon.worker.training import memory
from prefd.daemon.worker.training.checkpoint import Checkpoints
from prefd.daemon.worker.training.optimizer import make_optimizer
from prefd.daemon.worker.training.plan import schedule_of
from prefd.daemon.worker.training.policy import Policy
from prefd.daemon.worker.training.run import Run
from prefd.daemon.worker.training.schedule import Batching, tokens_of
from prefd.daemon.worker.training.selection import Selection
from prefd.daemon.worker.training.trainer import Trainer, padded
from prefd.plugins.conformance.kinks import jumps_at_reference
from prefd.plugins.types import Logprobs

log = logging.getLogger(__name__)

START_CHECK_PAIRS = 2
MUCH_NOISE = 0.3
"""Nats of an answer's log-ratio from which on rounding is told of."""
NOISE_PAIRS = 4
NOISE_OF_PAIRS = 16
"""Rounding is measured on the shortest of the first pairs: what is short runs in batches, which is what it comes from."""
BATCH_TOKENS = {"cpu": 1024, "gpu": 16384}
"""A CPU gains nothing from more, and a GPU does."""


def train(job: RunningJob, stop: StopEvent) -> TrainingOutcome:
    """Train the job's policy to the end and write what the spec's `output:` asks for. Raises as `fit` does."""
    outcome = fit(job, stop)
    return outputs.write(job).add_to(outcome)  # the policy and the optimizer are out of memory by now


def fit(job: RunningJob, stop: StopEvent) -> TrainingOutcome:
    """Train the job's policy and publish its adapter. Raises `Stopped` after a checkpoint when asked to stop,
    `JobError` for what the job's owner can mend.
    """
    began = time.monotonic()
    training, schedule = schedule_of(job)
    job.check_tables()
    reference = cached_reference(job) if job.loss.needs_reference else None
    policy = Policy.of(job, training, schedule.total_steps)
    model = policy.model
    optimizer = make_optimizer(training, schedule.total_steps, model)
    optimizer.init(model.trainable_parameters())
    batching = batching_of(training, job.loss)
    options = Options.of(job.spec)
    needed = memory.estimate(model, optimizer.state, job.examples, batching, options, policy.qat.nbytes)
    log.info("memory: %s", needed)
    tight = memory.check(needed, training)
    mx.eval(model.parameters(), optimizer.state)
    scorer = fastest_scorer(model, options)
    log.info("training: %s", scorer.describe())
    trainer = Trainer(scorer, optimizer, job.loss, reference, batching, training.seed, training.max_grad_norm)
    run = Run(
        job,
        training,
        schedule,
        trainer,
        Checkpoints(job.run.checkpoints, training.keep_checkpoints),
        policy.fine_tune.adapter_config(job.policy),
        Selection.of(training),
        policy.qat,
    )
    run.warn(tight)
    run.warn(None if scorer.parts else f"slower and larger than need be: {scorer.describe()}")
    run.restore()
    if reference is not None:
        _meet_reference(job, run, policy)
    run.go_on(stop)
    run.publish()
    return run.outcome(time.monotonic() - began)


def _meet_reference(job: SpecifiedJob, run: Run, policy: Policy) -> None:
    """Check at the start that a policy which starts as the reference gives its numbers, and measure what is rounding.

    Raises `JobError` where it does not give them.
    """
    trainer, pairs = run.trainer, run.schedule.pairs(1)[:START_CHECK_PAIRS]
    short = sorted(run.schedule.examples[:NOISE_OF_PAIRS], key=tokens_of)[:NOISE_PAIRS]
    if not run.step:
        same = job.starts_as_reference
        if same:
            drift = trainer.check_start(pairs, loading.compute_dtype(job.policy))
            log.info("step 0: policy = reference within %.2g nats per token", drift)
        trainer.measure_noise(short, same)
        trainer.start.unmoved = same and not _drops(job, policy)
    elif not run.knows_noise:
        trainer.measure_noise(short, same=False)
    run.warn(noise_warning(trainer.start.noise, run.schedule.examples))
    if jumps_at_reference(job.loss):
        trainer.start.shielded = True
        run.warn(
            "the loss's gradient jumps where policy and reference are equal, and it takes no notice of rounding: a "
            "log-ratio that is nothing but rounding is handed to it as exactly 0 (its author can mend it: `prefd "
            "check-loss NAME` says how)"
        )


def _drops(job: SpecifiedJob, policy: Policy) -> bool:
    """Whether the policy starts from an adapter that has learnt something and drops a part of it in training: its numbers are
    then not the reference's, and that is no rounding.
    """
    kind, dropout = policy.fine_tune.fine_tune_type, policy.fine_tune.lora_parameters.get("dropout", 0.0)
    return job.policy.adapter is not None and kind != "full" and dropout > 0


def noise_warning(noise: float, examples: Sequence[Example]) -> str | None:
    """What the job's owner should know where rounding is no small part of what they will look at."""
    typical = median(int(each.chosen.own.sum()) for each in examples)
    nats = noise * math.sqrt(typical)
    if nats < MUCH_NOISE:
        return None
    return (
        f"log-ratios are known to within {nats:.2g} nats only, for answers of {typical:.0f} tokens: that is rounding in this "
        "model's precision. Rewards within beta times that say nothing, and dpop's penalty begins beyond it; float32 weights "
        "have less of it"
    )


def batching_of(training: TrainingSpec, loss: Objective) -> Batching:
    """Pairs run in micro-batches of bounded tokens; as they come where `loss` looks across its batch."""
    if not loss.batch_independent:
        return Batching(training.batch_size, None)
    return Batching(training.batch_size, training.batch_tokens or BATCH_TOKENS[loading.device()])


def cached_reference(job: SpecifiedJob) -> Any:
    """Reads batches of reference log-probabilities from the cache, every value checked against its checksum."""

    def scores(completions: Sequence[Completion]) -> Logprobs:
        try:
            return padded(job.store.get([job.key(completion) for completion in completions]))
        except MissingEntry as error:
            raise JobError(f"{error.args[0]}; run the job again and its precompute pass will score it") from error

    return scores
