"""Runs a training from its first step to its adapter: step, evaluate, save, choose.

A checkpoint holds all that the rest of the run depends on, so a run that goes on from one ends as the unbroken one does.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from typing import Any

import mlx.core as mx

from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.data.tokens import list_places
from prefd.daemon.worker.device_trouble import is_device_trouble, is_out_of_memory
from prefd.daemon.worker.errors import Interrupted, JobError, NotFinite, Stopped
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.outputs.adapter import save_adapter
from prefd.daemon.worker.outputs.published import report_write_errors
from prefd.daemon.worker.progress import Reporter
from prefd.daemon.worker.ranks.mate import LostRank
from prefd.daemon.worker.stopping import StopEvent
from prefd.daemon.worker.training.adapter_off import AdapterOffReference
from prefd.daemon.worker.training.checkpoint import Checkpoints, RestoredCheckpoint
from prefd.daemon.worker.training.examples_digest import digest_examples
from prefd.daemon.worker.training.metrics_log import MetricsLog
from prefd.daemon.worker.training.qat import QAT
from prefd.daemon.worker.training.samples import Samples
from prefd.daemon.worker.training.schedule import Schedule
from prefd.daemon.worker.training.selection import Selection
from prefd.daemon.worker.training.shared_steps import describe_ranks
from prefd.daemon.worker.training.step_keeper import SCORE_BYTES, StepKeeper, count_score_bytes, restore_rescued
from prefd.daemon.worker.training.trainer import Trainer
from prefd.daemon.worker.training.zero_gradient import describe_zero_gradients
from prefd.plugins.metrics import EVAL_LOSS, LABELS

log = logging.getLogger(__name__)

TOKENIZING_LIBRARIES = ("transformers", "tokenizers", "jinja2")
"""Libraries whose versions tokens may depend on."""


@dataclass
class Run:
    """Run is a training run between its first step and its adapter."""

    job: RunningJob
    training: TrainingSpec
    schedule: Schedule
    trainer: Trainer
    checkpoints: Checkpoints
    config: dict[str, Any]
    selection: Selection
    qat: QAT
    keeper: StepKeeper = field(default_factory=StepKeeper)
    samples: Samples | None = None
    """What the policy answers meanwhile, where the spec asks for it."""

    def __post_init__(self) -> None:
        self.metrics = MetricsLog(self.job.run.metrics)
        self.data_sha256 = digest_examples(self.job.examples)
        self.weights_sha256 = self.job.identify(self.job.policy).identity["weights"]
        self.step = self.taken_step = self.adapter_step = self.saved_step = 0
        self.saved_at = time.monotonic()
        self.unfinished: dict[str, float] | None = None
        """The metrics of a step that was taken and whose evaluation, if one is due, was not."""
        self.knows_noise = False
        """Whether the checkpoint had the measured noise of a log-ratio; those of the first versions did not."""
        self.warnings: list[str] = []

    def warn(self, warning: str | None) -> None:
        """Note what the job's owner should know; None is nothing."""
        if warning is not None:
            self.warnings.append(warning)
            log.warning("%s", warning)

    def restore(self) -> int:
        """Go on from the newest checkpoint, or what outlived a worker since, and return the step after which that was; 0 without any.

        Raises `JobError` when it is another job's, or the pairs or the model's weights are not those it was saved with.
        """
        model, optimizer, run = self.trainer.model, self.trainer.optimizer, self.job.run
        checkpoint = self.checkpoints.restore(model, optimizer)
        after = 0 if checkpoint is None else checkpoint.step
        rescued = restore_rescued(run.rescued_step, model, optimizer, after, run.job)
        if (checkpoint := rescued or checkpoint) is not None:
            self._require_own(checkpoint)
            if checkpoint.state["data_sha256"] != self.data_sha256:
                raise self._make_change_error(
                    "pairs", checkpoint.step, self._explain_other_tokens(checkpoint.state.get("tokens_of", {}))
                )
            # those of the first versions have no digest of the weights
            weights = checkpoint.state.get("weights_sha256", self.weights_sha256)
            if weights != self.weights_sha256:
                raise self._make_change_error("weights", checkpoint.step, f"put {self.job.spec.model} back as it was")
            self.step = self.saved_step = checkpoint.step
            self.unfinished = checkpoint.state.get("unfinished")
            self.selection.restore(checkpoint.state["selection"])
            self.knows_noise = "start" in checkpoint.state
            if self.knows_noise:
                self.trainer.start.restore(checkpoint.state["start"])
            origin = "checkpoint" if rescued is None else "state, which outlived its worker,"
            log.info("going on from the %s of step %d", origin, checkpoint.step)
        # what a worker wrote of a step before it died in the midst of it is written again
        self.warn(self.metrics.resume_after(self.step if self.unfinished is None else self.step - 1))
        if self.samples is not None:
            self.warn(self.samples.resume_after(self.step))
        if rescued is not None:
            if isinstance(self.trainer.reference, AdapterOffReference):
                self.trainer.reference.pending |= rescued.scores
            self._save()
        # with what a daemon that was killed had begun to write
        for path in run.checkpoints.glob(f"*{run.rescued_step.name}*"):
            path.unlink()
        return self.step

    def _require_own(self, checkpoint: RestoredCheckpoint) -> None:
        """Raise `JobError` for a checkpoint of another job, or one without an id where this job's have one."""
        owner, run = checkpoint.state.get("job"), self.job.run
        if owner == (run.job or None) or (owner is None and self.job.is_of_earlier_version):
            return
        number, folder = run.root.name, self.checkpoints.path(checkpoint.step)
        raise JobError(
            f"{folder} is a checkpoint of another job ({owner or 'of an earlier version, without an id'}), and not of job "
            f"{number} ({run.job or 'without an id'}): was it copied or restored there? Move {self.checkpoints.folder} "
            f"away, or begin anew: `prefd retry {number} --fresh`"
        )

    def _make_change_error(self, subject: str, step: int, remedy: str) -> JobError:
        return JobError(
            f"the {subject} are not those that the checkpoint of step {step} was trained on; {remedy}, "
            f"or begin anew: `prefd retry {self.job.run.root.name} --fresh`"
        )

    def _explain_other_tokens(self, tokens_of: Mapping[str, str]) -> str:
        """Explain why the pairs have other tokens than the checkpoint's, and what to do."""
        current_tokens_of = self._token_sources
        changes = [
            f"{name} was {value_then} and is {current_tokens_of[name]}"
            if name in TOKENIZING_LIBRARIES
            else f"the {name} of {self.job.spec.model} has changed since"
            for name, value_then in tokens_of.items()
            if value_then != current_tokens_of.get(name, value_then)
        ]
        if changes := [*self.job.changes, *changes]:
            return f"{'; '.join(changes)}: put that back as it was"
        stock = self.job.stock
        if not tokens_of and stock is not None and stock.data and all(state.sha256 for state in stock.data.values()):
            return (  # an earlier version's, which kept no digest of the tokenizer
                f"{self.job.spec.data.where} is as it was, so unless the tokenizer of {self.job.spec.model} has changed, this "
                "version of prefd reads its rows otherwise (date, BOS and EOS, answers of several turns): finish the job with "
                "the version that it was begun with"
            )
        if not tokens_of:
            return f"put {self.job.spec.data.where} and the tokenizer of {self.job.spec.model} back as they were"
        if stock is None:  # the files that it was claimed with are not known
            return f"put {self.job.spec.data.where} back as it was"
        return "the same rows and the same tokenizer give others now, so another prefd made them: go on with that one"

    @cached_property
    def _token_sources(self) -> dict[str, str]:
        """Return what decides the tokens besides the data: digests of files, and versions."""
        identity = self.job.identify(self.job.policy).identity
        files = {"tokenizer": identity["tokenizer"], "chat template": identity["chat_template"]}
        return files | {name: metadata.version(name) for name in TOKENIZING_LIBRARIES}

    def run_steps(self, stop: StopEvent) -> None:
        """Take the steps to the end, or until the held-out pairs stop improving. Raises `Stopped` after a checkpoint.

        Where the device fails, its memory runs out, or a rank is lost, what was trained so far is saved first, where it can be.
        """
        self.taken_step = self.step
        self.qat.begin_step(self.step)  # the weights of a step that is taken already may have been rounded
        try:
            if self.unfinished is None:
                self._draw_samples()
            self._run_steps(stop)
        except (RuntimeError, MemoryError) as error:
            if is_device_trouble(error) or is_out_of_memory(error):
                self._keep_steps()
            raise
        except LostRank:
            self._keep_steps()
            raise

    def _run_steps(self, stop: StopEvent) -> None:
        total = self.schedule.total_steps
        done = self.step - (self.unfinished is not None)
        report = Reporter(self.job.run, "training", total, "steps", done, note=describe_ranks(self.trainer.ranks))
        passes = self.trainer.passes
        if passes is not None:
            self._size_passes(passes.follow_record(self.step))
        while (self.step < total or self.unfinished is not None) and not self.selection.stop:
            line, evaluation = self._step_and_evaluate(stop)
            if passes is not None:
                self._size_passes(passes.review(self.step))
            is_last = self.step == total or self.selection.stop
            if is_last or self.step % self.training.steps_per_report == 0 or self.step == 1:
                self.metrics.append(line)
            if evaluation is not None:
                self.metrics.append(self._stamp() | evaluation)
            is_best = evaluation is not None and self.selection.best_step == self.step
            stop_requested = stop.is_set()  # once: set between two looks, it would end the run without the checkpoint
            if is_last or is_best or stop_requested or self._is_save_due():
                self._save()
            if evaluation is not None:
                self._keep()
            report.advance(1, {name: line[name] for name in LABELS if name in line})
            if stop_requested and not is_last:
                raise Stopped(f"stopped after step {self.step} of {total}; its checkpoint is kept")
            self._draw_samples()
        if self.selection.stop:
            log.info("%s", self.selection.explain_stop())

    def _step_and_evaluate(self, stop: StopEvent) -> tuple[dict[str, float], dict[str, float] | None]:
        """Take the next step and the evaluation after it, or what a stop has left of both: the metrics of each.

        Raises `Stopped` after a checkpoint where the stop comes meanwhile: of the step before, or of this one without its
        evaluation, with which the run that goes on begins.
        """
        try:
            if self.unfinished is None:
                self.step += 1
                began = time.monotonic()
                line = self._stamp() | self._step(stop)
                if self.step == 1 and line["grad_norm"] == 0:
                    log.warning("%s", describe_zero_gradients([line], self.schedule.total_steps))
                self.unfinished, self.taken_step = line, self.step
                self._keep(time.monotonic() - began)
            evaluation = self._evaluate(stop)
        except Interrupted as interrupted:
            if self.unfinished is None:
                self.step -= 1  # no weight has changed
            raise self._save_and_stop(interrupted) from None
        line, self.unfinished = self.unfinished, None
        return line, evaluation

    def _draw_samples(self) -> None:
        """Have the policy answer, where that is due. Raises `Stopped` after a checkpoint where the stop comes meanwhile."""
        if self.samples is None:
            return
        try:
            is_last = self.step == self.schedule.total_steps or self.selection.stop
            self.samples.draw_due(self.step, is_last, self.trainer.model)
        except Interrupted as interrupted:
            raise self._save_and_stop(interrupted) from None

    def _save_and_stop(self, interrupted: Interrupted) -> Stopped:
        """Save what was trained, where that has not been done, and return what the run ends with."""
        if self.step and (self.unfinished is not None or self.step != self.saved_step):
            self._save()
        standing = f"the checkpoint of step {self.step} is kept" if self.step else "no step was taken yet"
        return Stopped(f"stopped in {interrupted} after step {self.step} of {self.schedule.total_steps}; {standing}")

    def _keep_steps(self) -> None:
        """Save the last step that was taken whole, so that the next worker repeats none. A device may refuse that too."""
        if self.trainer.changed_by not in (0, self.taken_step):
            return
        self.step = self.taken_step
        if not self.step or (self.step == self.saved_step and self.unfinished is None):
            return
        try:
            self._save()
        except (RuntimeError, MemoryError, JobError, OSError) as error:
            log.warning("what was trained since step %d cannot be saved either: %s", self.saved_step, error)
        else:
            log.info("the checkpoint of step %d is kept", self.step)

    def _size_passes(self, message: str | None) -> None:
        """Run in other sizes from now on, where there is a `message` that says why."""
        if message is not None and self.trainer.passes is not None:
            self.trainer.take_sizes(self.trainer.passes.settings)
            self.warn(message)

    def _is_save_due(self) -> bool:
        """Say whether so many steps, or minutes, have gone by that a checkpoint is due."""
        minutes = (time.monotonic() - self.saved_at) / 60
        return self.step % self.training.save_every == 0 or minutes >= self.training.save_minutes

    def _step(self, stop: StopEvent) -> dict[str, float]:
        self.qat.begin_step(self.step)
        if self.qat.active:
            self.trainer.start.unmoved = False  # its weights are rounded, and the reference's are not
        try:
            metrics = self.trainer.step(self.step, self.schedule.pairs(self.step), stop)
        except NotFinite as error:
            raise JobError(f"{error}{self._name_last_good_checkpoint()}") from error
        self.qat.refresh()
        rate = float(self.trainer.optimizer.learning_rate.item())  # the one that this step took
        ranks = self.trainer.ranks
        peak = max(mx.get_peak_memory(), 0 if ranks is None else ranks.peak_memory)
        seen = self.schedule.count_tokens_seen(self.step)
        return metrics | {"num_tokens": seen, "learning_rate": rate, "peak_memory_gb": peak / 1e9}

    def _evaluate(self, stop: StopEvent) -> dict[str, float] | None:
        """Evaluate the held-out pairs and return their metrics, None where it is not their turn."""
        held_out = self.job.data.held_out
        interval = self.training.steps_per_eval or self.schedule.steps_per_epoch
        if not held_out or (self.step % interval and self.step != self.schedule.total_steps):
            return None
        metrics = self.trainer.evaluate(held_out, stop)
        if not math.isfinite(metrics[EVAL_LOSS]):
            not_finite = [each for each in held_out if not math.isfinite(self.trainer.evaluate([each])[EVAL_LOSS])]
            raise JobError(
                f"step {self.step}: {EVAL_LOSS} is {metrics[EVAL_LOSS]}, on the held-out {list_places(not_finite)}; lower "
                f"training.learning_rate or the loss's beta, or look at those rows{self._name_last_good_checkpoint()}"
            )
        self.selection.record(self.step, metrics)
        return metrics

    def _name_last_good_checkpoint(self) -> str:
        """Name the newest checkpoint from which a step was taken: the one just before may have failed in it."""
        checkpoint = self.checkpoints.last_before(self.step - 1)
        return "" if checkpoint is None else f"; the last good checkpoint is kept: {checkpoint}"

    def _describe_state(self) -> dict[str, Any]:
        """Describe what the rest of the run depends on besides the spec and the tensors."""
        epoch, steps_into_epoch = divmod(self.step, self.schedule.steps_per_epoch)
        owner = {"job": self.job.run.job} if self.job.run.job else {}
        return owner | {
            "seed": self.training.seed,  # with the step, all of the random state: dropout and order derive from both
            "epoch": epoch,
            "steps_into_epoch": steps_into_epoch,
            "data_sha256": self.data_sha256,
            "tokens_of": self._token_sources,
            "weights_sha256": self.weights_sha256,
            "selection": self.selection.state(),
            "start": self.trainer.start.state(),
            "unfinished": self.unfinished,
        }

    def _keep(self, step_seconds: float = 0.0) -> None:
        """Keep the state in memory, where that is due after a step that took `step_seconds`; 0 where no step was taken since."""
        state = self._describe_state()
        scores = self.trainer.reference.pending if isinstance(self.trainer.reference, AdapterOffReference) else {}
        if count_score_bytes(scores) > SCORE_BYTES:
            self._commit_reference()
            scores = {}
        self.keeper.keep(self.step, self.trainer.model, self.trainer.optimizer, state, step_seconds, scores)

    def _save(self) -> None:
        model, optimizer, best = self.trainer.model, self.trainer.optimizer, self.selection.best_step
        self._commit_reference()
        with report_write_errors(
            f"the checkpoint of step {self.step}", self.checkpoints.folder, self._name_last_good_checkpoint()
        ):
            self.metrics.flush()
            if self.samples is not None:
                self.samples.log.flush()
            self.checkpoints.save(self.step, model, optimizer, self.config, self._describe_state(), best)
        self.saved_step, self.saved_at = self.step, time.monotonic()

    def _commit_reference(self) -> None:
        """Commit what a live reference has scored, before a checkpoint that has trained on it."""
        if isinstance(self.trainer.reference, AdapterOffReference):
            self.trainer.reference.commit()

    def publish(self) -> None:
        """Write the adapter, of the last step or the best."""
        self.adapter_step, best = self.step, self.selection.best_step
        if self.training.load_best_model_at_end and best is not None and best != self.step:
            if self.checkpoints.load_best(best, self.trainer.model):
                self.adapter_step = best
            else:
                self.warn(f"the best checkpoint, of step {best}, is damaged: the adapter is the last step's")
        with report_write_errors("the adapter", self.job.run.root):
            save_adapter(self.job.run.adapter, self.trainer.model, self.config)
        self.checkpoints.prune(self.training.keep_checkpoints, best)

    def _stamp(self) -> dict[str, float]:
        return {"step": self.step, "epoch": round(self.schedule.epoch(self.step), 4)}
