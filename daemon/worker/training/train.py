"""Runs the training phase: load the policy, go on from the newest checkpoint, step, evaluate, save.

The only model in this process is the policy; the reference is read from the cache, or is the policy with its adapter off.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import mlx.core as mx

from prefd.cache.reference import MissingEntry
from prefd.daemon.runs.batch_record import BatchSettings
from prefd.daemon.runs.phase_outcomes import TrainingOutcome
from prefd.daemon.runs.step_memory import StepMemory
from prefd.daemon.runs.xray_summary import XRaySummary
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import RunningJob, SpecifiedJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.pass_length import bound_tokens
from prefd.daemon.worker.outputs import outputs
from prefd.daemon.worker.pace import Pace
from prefd.daemon.worker.rank_start import start_ranks
from prefd.daemon.worker.ranks.checks import check_ranks, describe_few_pairs
from prefd.daemon.worker.ranks.count import read_ranks, read_ranks_here
from prefd.daemon.worker.ranks.crew import Crew
from prefd.daemon.worker.ranks.frames import pack_arrays
from prefd.daemon.worker.ranks.pairs import pack_pairs
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.scoring.trunk import list_arrays
from prefd.daemon.worker.stopping import StopEvent
from prefd.daemon.worker.training import memory
from prefd.daemon.worker.training.adapter_off import AdapterOffReference, open_adapter_off
from prefd.daemon.worker.training.batch_settings import choose_batches, count_room
from prefd.daemon.worker.training.checkpoint import Checkpoints
from prefd.daemon.worker.training.optimizer import make_optimizer
from prefd.daemon.worker.training.pass_sizes import PassSizes
from prefd.daemon.worker.training.plan import describe_lone_answers, plan_training
from prefd.daemon.worker.training.policy import Policy
from prefd.daemon.worker.training.run import Run
from prefd.daemon.worker.training.run_report import make_outcome
from prefd.daemon.worker.training.samples import Samples
from prefd.daemon.worker.training.schedule import count_tokens
from prefd.daemon.worker.training.selection import Selection
from prefd.daemon.worker.training.shared_steps import SharedSteps
from prefd.daemon.worker.training.sizing import make_batching, make_estimator, make_options
from prefd.daemon.worker.training.start_check import StartDrift
from prefd.daemon.worker.training.step_keeper import choose_keeper, count_kept_bytes
from prefd.daemon.worker.training.trainer import ReferenceScores, Trainer, pad_rows
from prefd.daemon.worker.training.weight_update import decide_compiling
from prefd.daemon.worker.xray.report import summarize_doubts
from prefd.plugins.conformance.kinks import jumps_at_reference
from prefd.plugins.types import Logprobs

log = logging.getLogger(__name__)

START_CHECK_PAIRS = 2
NOISE_TO_WARN_OF = 0.3
"""Nats of rounding in an answer's log-ratio from which on the job's owner is warned."""
NOISE_PAIRS = 4
NOISE_CANDIDATES = 16
"""Rounding is measured on the shortest of the first pairs: what is short runs in batches, which is what it comes from."""


def train(job: RunningJob, stop: StopEvent) -> TrainingOutcome:
    """Train the job's policy to the end and write what the spec's `output:` asks for. Raises as `fit` does."""
    outcome = fit(job, stop)
    return outputs.write(job).add_to(outcome)  # the policy and the optimizer are out of memory by now


def fit(job: RunningJob, stop: StopEvent) -> TrainingOutcome:
    """Train the job's policy and publish its adapter.

    Raises `Stopped` after a checkpoint when asked to stop, `JobError` for what the job's owner can mend, `LostRank` where
    another of its processes has ended.
    """
    ranks = read_ranks()
    check_ranks(job.spec.ranks, job.settings, loading.device(), job.loss.batch_independent)
    if ranks == 1:
        return _fit(job, stop, None)
    with start_ranks(job, "policy") as crew:
        return _fit(job, stop, crew)


def _fit(job: RunningJob, stop: StopEvent, crew: Crew | None) -> TrainingOutcome:
    began = time.monotonic()
    training, schedule = plan_training(job)
    xray = examine_unexamined(job)
    job.check_tables()
    compiled = decide_compiling(training.compile)
    policy = Policy.build(job, training, schedule.total_steps)
    model = policy.model
    optimizer = make_optimizer(training, schedule.total_steps, model)
    optimizer.init(model.trainable_parameters())

    estimate_for = make_estimator(job, training, policy, optimizer)
    batches = choose_batches(
        training,
        job.run.batches,
        estimate_for,
        job.parallel * read_ranks_here(),
        lambda tokens: bound_tokens(model, tokens),
    )
    batching = make_batching(training, job.loss, batches.settings)
    options = make_options(job, training, batches.settings)
    estimate = estimate_for(batches.settings)
    keeper, keeper_note = choose_keeper(
        StepMemory.inherit(),
        count_kept_bytes(model, optimizer.state),
        count_room(job.parallel * read_ranks_here()) - estimate.total,
        job.parallel,
    )
    log.info("memory: %s", estimate)
    memory_warning = memory.check(estimate, training)
    mx.eval(model.parameters(), optimizer.state)
    scorer = fastest_scorer(model, options)
    log.info("training: %s", scorer.describe())
    trainer = Trainer(
        scorer,
        optimizer,
        job.loss,
        None,
        batching,
        training.seed,
        training.max_grad_norm,
        pace=Pace.from_environment(loading.device()),
        passes=watch_passes(job, model, batches.settings),
        can_undo=training.fine_tune != "full",
        compiled=compiled,
    )
    trainer.reference = reference = open_reference_scores(job, model, lambda: trainer.scorer)
    run = Run(
        job,
        training,
        schedule,
        trainer,
        Checkpoints(job.run.checkpoints, training.keep_checkpoints),
        policy.fine_tune.adapter_config(job.policy),
        Selection.from_spec(training),
        policy.qat,
        keeper,
        Samples.open(job, training.steps_per_eval or schedule.steps_per_epoch, stop),
    )
    run.warn(batches.note)
    run.warn(describe_lone_answers(job, training))
    run.warn(keeper_note)
    run.warn(memory_warning)
    run.warn(None if scorer.parts else f"slower and larger than need be: {scorer.describe()}")
    run.restore()
    if reference is not None:
        _compare_start_with_reference(job, run, policy)
    if crew is not None:
        run.warn(describe_few_pairs(crew.size, schedule.pairs_per_step))
        trainer.ranks = share_steps(crew, job, run, batches.settings)
    run.run_steps(stop)
    run.publish()
    if isinstance(reference, AdapterOffReference):
        log.info("reference: %s", reference.summarize().line)
    return make_outcome(run, time.monotonic() - began, xray)


def examine_unexamined(job: RunningJob) -> XRaySummary | None:
    """Examine the pairs by their rows, where no reference pass has done it before; None where one has."""
    before = job.run.outcome("precompute")
    return None if before is not None and before.summary.xray is not None else summarize_doubts(job, rows_alone=True)


def share_steps(crew: Crew, job: RunningJob, run: Run, settings: BatchSettings) -> SharedSteps:
    """Give the other ranks the pairs, the reference's numbers and the state that the run is in, and join them. Raises LostRank."""
    trainer, examples = run.trainer, job.examples
    rows: dict[Completion, Any] = {}
    if job.loss.needs_reference:
        sides = list(dict.fromkeys(side for example in examples for side in (example.chosen, example.rejected)))
        live = trainer.reference if isinstance(trainer.reference, AdapterOffReference) else None
        scores = job.store.get([job.key(side) for side in sides]) if live is None else live.score_all(sides)
        rows = dict(zip(sides, scores, strict=True))
    # at the start, a seed gives every rank the same weights; each sum makes sure of that
    weights = list_arrays(trainer.model.trainable_parameters()) if run.step else []
    optimizer = list_arrays(trainer.optimizer.state) if run.step else []
    names, arrays = pack_arrays([*weights, *optimizer])
    opening = {
        "do": "train",
        "total_steps": run.schedule.total_steps,
        "batches": asdict(settings),
        "start": trainer.start.state(),
        "shielded": trainer.start.shielded,
        "weights": names[: len(weights)],
        "optimizer": names[len(weights) :],
    }
    packed = [*arrays, *pack_pairs(examples, rows)]
    for mate in crew.mates:
        mate.tell(opening, packed)
    for mate in crew.mates:
        if (note := mate.hear().head["note"]) and mate.seat.name:
            run.warn(f"{mate.seat.name}: {note}")
    crew.join_ring()
    log.info("ranks: %d share each step", crew.size)
    return SharedSteps(crew, examples)


def watch_passes(job: RunningJob, model: Any, settings: BatchSettings) -> PassSizes | None:
    """Make what measures the passes of this run; None on a CPU, where nothing waits for them."""
    return None if loading.device() == "cpu" else PassSizes(job.run.batches, settings, len(model.layers))


def _compare_start_with_reference(job: SpecifiedJob, run: Run, policy: Policy) -> None:
    """Check at the start that a policy which starts as the reference gives its numbers, and measure what is rounding.

    Raises `JobError` where it does not give them.
    """
    trainer, pairs = run.trainer, run.schedule.pairs(1)[:START_CHECK_PAIRS]
    short_pairs = sorted(run.schedule.examples[:NOISE_CANDIDATES], key=count_tokens)[:NOISE_PAIRS]
    if not run.step:
        starts_as_reference = job.starts_as_reference
        if starts_as_reference:
            start = trainer.check_start(pairs, loading.compute_dtype(job.policy))
            log.info("%s", start.describe())
            run.warn(describe_doubt(start))
        trainer.measure_noise(short_pairs, starts_as_reference)
        trainer.start.unmoved = starts_as_reference and not _drops_learnt_parts(job, policy)
    elif not run.knows_noise:
        trainer.measure_noise(short_pairs, same=False)
    run.warn(describe_noise(trainer.start.noise, run.schedule.examples))
    if jumps_at_reference(job.loss, job.loss.unpaired):
        trainer.start.shielded = True
        run.warn(
            "the loss's gradient jumps where policy and reference are equal, and it takes no notice of rounding: a "
            "log-ratio that is nothing but rounding is handed to it as exactly 0 (its author can mend it: `prefd "
            "check-loss NAME` says how)"
        )


def describe_doubt(start: StartDrift) -> str | None:
    """Return a warning where the start is further from the reference than rounding explains, None where it is not."""
    if not start.is_doubtful:
        return None
    return (
        f"{start.describe()}: more than the {start.expected:.2g} that rounding explains, less than the {start.wrong:.2g} at "
        "which a job is stopped. Was the reference scored by another version of mlx, or on another device? `prefd cache "
        "verify --rescore` compares it with what this machine gives now"
    )


def _drops_learnt_parts(job: SpecifiedJob, policy: Policy) -> bool:
    """Say whether the policy starts from an adapter and drops a part of it in training.

    Its numbers are then not the reference's, and the difference is no rounding.
    """
    kind, dropout = policy.fine_tune.fine_tune_type, policy.fine_tune.lora_parameters.get("dropout", 0.0)
    return job.policy.adapter is not None and kind != "full" and dropout > 0


def describe_noise(noise: float, examples: Sequence[Example]) -> str | None:
    """Return a warning where rounding is a large part of the log-ratios, None where it is not."""
    typical = median(int(example.chosen.own.sum()) for example in examples)
    nats = noise * math.sqrt(typical)
    if nats < NOISE_TO_WARN_OF:
        return None
    return (
        f"log-ratios are known to within {nats:.2g} nats only, for answers of {typical:.0f} tokens: that is rounding in this "
        "model's precision. Rewards within beta times that say nothing, and dpop's penalty begins beyond it; "
        "training.compute_dtype: float32 has less of it"
    )


def open_reference_scores(job: SpecifiedJob, model: Any, scorer: Callable[[], Scorer]) -> ReferenceScores | None:
    """Open what gives the loss of `job` its reference's numbers: the cache, or the policy `model` with its adapter off; None where it takes none."""
    if not job.loss.needs_reference:
        return None
    return open_adapter_off(job, model, scorer) if job.spec.has_live_reference else open_cached_reference(job)


def open_cached_reference(job: SpecifiedJob) -> Any:
    """Return a function that reads the reference's log-probabilities of a batch from the cache, checked by checksum."""

    def read_scores(completions: Sequence[Completion]) -> Logprobs:
        try:
            return pad_rows(job.store.get([job.key(completion) for completion in completions]))
        except MissingEntry as error:
            raise JobError(f"{error.args[0]}; run the job again and its precompute pass will score it") from error

    return read_scores
