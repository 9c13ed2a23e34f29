"""Loads a session: the model with its adapter, who it can ask, and what was saved of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlx import nn

from prefd.daemon.runs.batch_record import BatchSettings
from prefd.daemon.runs.live_folder import LiveFolder
from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.timing import USUAL, Timing
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.live.answering import Answering
from prefd.daemon.worker.live.datums import Vocabulary
from prefd.daemon.worker.live.learner import Learner
from prefd.daemon.worker.live.policy import LivePolicy
from prefd.daemon.worker.live.questions import Questions
from prefd.daemon.worker.live.references import References
from prefd.daemon.worker.live.samplers import Samplers
from prefd.daemon.worker.live.saved_weights import load_state
from prefd.daemon.worker.live.state import SessionState
from prefd.daemon.worker.live.step_log import StepLog
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.lookup_tables import Tables
from prefd.daemon.worker.models.pass_length import bound_tokens
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.models.tiers import find_tier
from prefd.daemon.worker.pace import Pace
from prefd.daemon.worker.reference.scoring_pass import BATCH_TOKENS
from prefd.daemon.worker.sampling.generator import Generator
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Options
from prefd.daemon.worker.stopping import StopEvent
from prefd.daemon.worker.training.batch_settings import find_usual_settings, halve
from prefd.daemon.worker_tasks.live_requests import LiveSession


@dataclass
class LoadedSession:
    """LoadedSession is a session that takes requests, with its saved state."""

    answering: Answering
    state: SessionState


def load_session(
    job: RunningJob, folder: LiveFolder, session: LiveSession, stop: StopEvent, timing: Timing = USUAL
) -> LoadedSession:
    """Load `session` as it was saved, or as it begins. Raises `JobError` where that cannot be."""
    source = ModelSource(session.model)
    policy = None if session.lora is None else LivePolicy.build(source, session, session.lora)
    model = loading.load(source).freeze() if policy is None else policy.model
    sizes = choose_sizes(model, job.run.batches.halvings)
    scorer = fastest_scorer(model, Options(chunk_tokens=sizes.chunk_tokens, checkpoint_layers=sizes.grad_checkpoint))
    tables = Tables.read(source)
    vocabulary = Vocabulary(tables, source.model)
    most = bound_tokens(model, BATCH_TOKENS[find_tier()]) >> job.run.batches.halvings
    references = References(job.cache.reference, max(1, most), stop)
    questions = Questions(
        vocabulary,
        Samplers(source, scorer, job.identify),
        references,
        Generator(source, tables, session.model_id, stop, most),
    )
    learner = None
    if policy is not None:
        pace = Pace.from_environment(loading.device())
        learner = Learner(policy, scorer, vocabulary, sizes.batch_tokens, pace, stop)
    state = SessionState(folder, source, str(job.identify(source).identity["weights"]), timing=timing)
    applied = state.restore(learner)
    references.counts = state.counts
    if applied == 0 and learner is not None and session.from_state is not None:
        load_state(Path(session.from_state), learner.policy, session.with_optimizer)
        learner.changed = True
    steps = StepLog(job.run, references, learner.steps if learner else 0)
    steps.resume()
    return LoadedSession(Answering(folder, session, source, learner, questions, steps), state)


def choose_sizes(model: nn.Module, halvings: int) -> BatchSettings:
    """Choose how much runs at once: the device's usual, halved for each time that memory ran out."""
    sizes = find_usual_settings(TrainingSpec(), lambda tokens: bound_tokens(model, tokens))
    for _ in range(halvings):
        sizes = halve(sizes)
    return sizes
