"""A run between its first step and its adapter: resume, selection, checkpoints, and what stops it."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import pytest

from prefd.daemon.runs.phase_summaries import BestEvaluation
from prefd.daemon.runs.run_identity import RunIdentity
from prefd.daemon.runs.snapshot import freeze
from prefd.daemon.terminal.report import phase_facts, training_lines
from prefd.daemon.worker.errors import JobError, Stopped
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.training import chosen_likelihood
from prefd.daemon.worker.training import run as training_run
from prefd.daemon.worker.training.run import Run
from prefd.daemon.worker.training.trainer import Trainer
from prefd.plugins.types import LossInput, LossOutput
from support import tiny_model as tiny
from support.jobs_on_disk import (
    StopAtLook,
    adapter_digest,
    again,
    finished,
    job,
    make_job,
    metrics,
    run_precompute,
    run_training,
)
from support.sample_pairs import PAIRS
from support.thinned import thin


@pytest.mark.parametrize("stop_at", thin([1, 5, 11], (5).__eq__))
def test_a_resumed_run_ends_bit_identical(home: Path, tiny_model: Path, pairs_file: Path, stop_at: int) -> None:
    settings = {"epochs": 4, "lora": {"rank": 4, "dropout": 0.2}, "save_every": 2}
    unbroken = finished(job(home, tiny_model, pairs_file, job_id=1, training=settings))
    broken = job(home, tiny_model, pairs_file, job_id=2, training=settings)
    with pytest.raises(Stopped, match=f"stopped after step {stop_at} of 12"):
        run_training(broken, StopAtLook(stop_at))
    resumed = make_job(home, 2, **json.loads(broken.run.spec.read_text()))
    assert run_training(resumed).ok
    assert adapter_digest(resumed) == adapter_digest(unbroken)
    same = [[line["loss"] for line in metrics(each)] for each in (resumed, unbroken)]
    assert same[0] == same[1]


def test_asked_to_stop_at_any_moment_it_ends_with_a_checkpoint_of_its_last_step(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    """A signal may come between any two looks at the event."""
    for job_id, looks in enumerate(range(1, 6), start=1):
        running_job = job(home, tiny_model, pairs_file, "cpo", job_id=job_id, training={"epochs": 4})
        with pytest.raises(Stopped) as stopped:
            run_training(running_job, StopAtLook(looks))
        step = int(str(stopped.value).removeprefix("stopped after step ").split(" ")[0])
        assert (running_job.run.checkpoints / f"step-{step:08d}").is_dir(), looks


def test_a_stop_is_seen_between_micro_batches_and_evaluation_batches(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    """Each batch is one pair: 3 looks in a step of 3 pairs, 2 in an evaluation of 3, one after both.

    It is stopped at the first look, and around the first evaluation.
    """
    training = {
        "iters": 3,
        "batch_size": 3,
        "batch_tokens": 1,
        "steps_per_eval": 1,
        "lora": {"rank": 4, "dropout": 0.2},
    }
    settings = {"training": training, "data": {"validation": 0.4}}
    unbroken = finished(job(home, tiny_model, pairs_file, job_id=1, **settings))
    reasons = []
    for job_id, look in enumerate((1, 4, 5, 6), start=2):
        broken = job(home, tiny_model, pairs_file, job_id=job_id, **settings)
        if job_id == 2:
            run_precompute(broken)
        with pytest.raises(Stopped) as stopped:
            run_training(broken, StopAtLook(look))
        reasons.append(str(stopped.value))
        run_training(again(broken))
        assert adapter_digest(broken) == adapter_digest(unbroken), reasons[-1]
        lines = [
            [(line["step"], line.get("loss"), line.get("eval_loss")) for line in each.run.read_metrics()]
            for each in (broken, unbroken)
        ]
        assert lines[0] == lines[1], reasons[-1]
    assert reasons[0] == "stopped in the micro-batches after step 0 of 3; no step was taken yet"
    assert "stopped in the evaluation after step 1 of 3; the checkpoint of step 1 is kept" in reasons
    assert "stopped in the micro-batches after step 1 of 3; the checkpoint of step 1 is kept" in reasons
    assert "stopped after step 1 of 3; its checkpoint is kept" in reasons


def test_a_checkpoint_is_saved_after_minutes_too(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    running_job = finished(
        job(home, tiny_model, pairs_file, "cpo", training={"iters": 4, "save_minutes": 1e-9, "keep_checkpoints": 9})
    )
    assert len(list(running_job.run.checkpoints.glob("step-*"))) == 4
    slow = finished(job(home, tiny_model, pairs_file, "cpo", 2, training={"iters": 4, "keep_checkpoints": 9}))
    assert len(list(slow.run.checkpoints.glob("step-*"))) == 1


def test_a_run_killed_between_checkpoints_repeats_what_it_lost(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    """What a kill leaves: an older checkpoint, metrics past it, a half-written line."""
    settings = {"epochs": 4, "save_every": 5}
    unbroken = finished(job(home, tiny_model, pairs_file, job_id=1, training=settings))
    killed = finished(job(home, tiny_model, pairs_file, job_id=2, training=settings))
    shutil.rmtree(killed.run.adapter)
    shutil.rmtree(killed.run.checkpoints / "step-00000012")
    with killed.run.metrics.open("a") as file:
        file.write('{"step": 13, "lo')
    run_training(killed)
    assert adapter_digest(killed) == adapter_digest(unbroken)
    assert [line["step"] for line in metrics(killed)] == list(range(1, 13))


def test_checkpoints_are_adapters_and_only_the_newest_stay(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    running_job = finished(
        job(home, tiny_model, pairs_file, training={"epochs": 4, "save_every": 3, "keep_checkpoints": 2})
    )
    checkpoints = sorted(path.name for path in running_job.run.checkpoints.iterdir())
    assert checkpoints == ["step-00000009", "step-00000012"]
    mlx_lm.load(str(tiny_model), adapter_path=str(running_job.run.checkpoints / checkpoints[0]))


def evaluations(running_job: RunningJob, name: str) -> list[tuple[int, float]]:
    return [(int(line["step"]), line[name]) for line in running_job.run.read_metrics() if name in line]


def test_early_stopping_ends_the_job_and_the_adapter_is_the_best_checkpoint(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    metric = "eval_rewards/accuracies"  # 0 or 1 here, so it stops improving soon
    training = {
        "iters": 60,
        "steps_per_eval": 2,
        "keep_checkpoints": 1,
        "early_stopping": {"metric": metric, "patience": 3},
        "load_best_model_at_end": True,
    }
    running_job = job(home, tiny_model, pairs_file, training=training)
    run_precompute(running_job)
    outcome = run_training(running_job)
    seen = evaluations(running_job, metric)
    best = max(value for _, value in seen)
    step = next(step for step, value in seen if value == best)
    assert [stop_step for stop_step, _ in seen][-1] == step + 6 == outcome.summary.steps
    assert (
        f"the adapter is the best one, of step {step}; stopped early: {metric} was best at step {step}"
        in outcome.reason
    )
    checkpoints = {path.name for path in running_job.run.checkpoints.iterdir()}
    assert checkpoints == {f"step-{step:08d}", f"step-{step + 6:08d}"}
    best_adapter = running_job.run.checkpoints / f"step-{step:08d}" / "adapters.safetensors"
    assert (running_job.run.adapter / "adapters.safetensors").read_bytes() == best_adapter.read_bytes()
    assert outcome.summary.best == BestEvaluation(
        metric=metric, value=best, step=step, checkpoint=str(best_adapter.parent)
    )
    again = run_training(RunningJob.load(running_job.home, 1))  # killed before its outcome was written
    assert (again.reason, again.summary.steps) == (outcome.reason, step + 6)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"best_checkpoint": {"metric": "eval_kl"}}, r"there is no metric eval_kl .* the evaluations have eval_loss"),
        ({"qat": {"start_step": 3}}, r"training\.qat\.start_step is 3 and the job has 3 steps: it never comes"),
        ({"steps_per_eval": 1, "early_stopping": {}}, r"training\.early_stopping: .* evaluation 4 .* and it has 3"),
        ({"lr_schedule": {"name": "constant", "warmup": 50}}, r"50 steps of warmup, and the job has 3"),
    ],
)
def test_what_only_the_data_can_tell_is_told_before_the_reference_runs(
    home: Path, tiny_model: Path, pairs_file: Path, training: dict[str, Any], message: str
) -> None:
    running_job = job(home, tiny_model, pairs_file, training=training)
    with pytest.raises(JobError, match=message):
        run_precompute(running_job)
    assert running_job.cache.references() == []


def test_selection_without_held_out_pairs_is_told(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    pairs_file.write_text("".join(json.dumps(pair | {"prompt": "The same?"}) + "\n" for pair in PAIRS))
    running_job = job(home, tiny_model, pairs_file, training={"best_checkpoint": {}})
    with pytest.raises(
        JobError, match=r"the 8 pairs share one prompt, so none is held out; give data\.validation a path"
    ):
        run_precompute(running_job)


def test_a_checkpoint_of_other_pairs_is_not_gone_on_from(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    running_job = finished(job(home, tiny_model, pairs_file))
    with pairs_file.open("a") as file:
        file.write(json.dumps(PAIRS[0] | {"prompt": "And now?"}) + "\n")
    changed = RunningJob.load(running_job.home, 1)
    run_precompute(changed)
    with pytest.raises(
        JobError,
        match=r"the pairs are not those that the checkpoint of step 3 .* or begin anew: `prefd retry \d+ --fresh`",
    ):
        run_training(changed)


def test_a_checkpoint_of_other_pairs_names_every_dataset(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    other = pairs_file.with_name("other.jsonl")
    other.write_text(json.dumps(PAIRS[0] | {"prompt": "And now?"}) + "\n")
    paths = [str(pairs_file), {"path": str(other), "weight": 1.0}]
    running_job = finished(job(home, tiny_model, pairs_file, "cpo", data={"path": paths}))
    with other.open("a") as file:
        file.write(json.dumps(PAIRS[0] | {"prompt": "And then?"}) + "\n")
    with pytest.raises(JobError, match=rf"; put {pairs_file}, {other} back as it was, or begin anew"):
        run_training(RunningJob.load(running_job.home, 1))


def test_a_checkpoint_of_an_earlier_version_names_the_version_where_the_data_is_as_it_was(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_job = job(home, tiny_model, pairs_file, "cpo", training={"iters": 3, "save_every": 2})
    freeze(running_job.home, 1, running_job.spec, anew=True)  # with the digests of its data
    monkeypatch.setattr(Run, "_token_sources", {})
    monkeypatch.setattr(training_run, "digest_examples", lambda examples: "as before")
    finished(RunningJob.load(running_job.home, 1))
    monkeypatch.undo()
    run_precompute(RunningJob.load(running_job.home, 1))
    with pytest.raises(JobError) as caught:
        run_training(RunningJob.load(running_job.home, 1))
    assert str(caught.value) == (
        f"the pairs are not those that the checkpoint of step 3 was trained on; {pairs_file} is as it was, so unless the "
        f"tokenizer of {tiny_model} has changed, this version of prefd reads its rows otherwise (date, BOS and EOS, answers "
        "of several turns): finish the job with the version that it was begun with, or begin anew: `prefd retry 1 --fresh`"
    )
    with pairs_file.open("a") as file:
        file.write(json.dumps(PAIRS[0] | {"prompt": "And now?"}) + "\n")
    run_precompute(RunningJob.load(running_job.home, 1))
    with pytest.raises(JobError, match=r"; .*pairs\.jsonl.*: put that back as it was, or begin anew"):
        run_training(RunningJob.load(running_job.home, 1))


def test_a_checkpoint_of_another_model_under_the_same_name_is_not_gone_on_from(
    home: Path, tmp_path: Path, pairs_file: Path
) -> None:
    running_job = finished(job(home, tiny.build_llama(tmp_path / "model"), pairs_file, "cpo"))
    tiny.build_llama(tmp_path / "model", seed=1)
    with pytest.raises(JobError, match=r"the weights are not those .* step 3 .*; put .*model back .* `prefd retry"):
        run_training(RunningJob.load(running_job.home, 1))


def test_a_checkpoint_of_another_job_is_refused_and_names_both(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    """The pairs are the same, as those of a sweep's jobs are: only the loss differs."""
    ours, theirs = RunIdentity("01OURS", 1, name="ipo"), RunIdentity("01THEIRS", 1, name="sigmoid")
    running_job = job(home, tiny_model, pairs_file, "cpo", training={"iters": 3, "save_every": 2})
    freeze(running_job.home, 1, running_job.spec, anew=True, owner=theirs)
    finished(RunningJob.load(running_job.home, 1))
    freeze(running_job.home, 2, running_job.spec, owner=dataclasses.replace(ours, number=2))
    shutil.copytree(running_job.run.checkpoints, running_job.home.job(2) / "checkpoints")
    run_precompute(RunningJob.load(running_job.home, 2))
    with pytest.raises(JobError) as caught:
        run_training(RunningJob.load(running_job.home, 2))
    folder = running_job.home.job(2) / "checkpoints"
    assert str(caught.value) == (
        f"{folder / 'step-00000003'} is a checkpoint of another job (01THEIRS), and not of job 2 (01OURS): was it copied or "
        f"restored there? Move {folder} away, or begin anew: `prefd retry 2 --fresh`"
    )
    assert not (running_job.home.job(2) / "adapter").exists()


def test_a_checkpoint_without_an_id_is_gone_on_from_by_a_job_of_an_earlier_version_only(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    running_job = finished(job(home, tiny_model, pairs_file, "cpo", training={"iters": 3, "save_every": 2}))
    assert run_training(RunningJob.load(running_job.home, 1)).ok, "nothing in its folder has an id"
    freeze(running_job.home, 1, running_job.spec, anew=True, owner=RunIdentity("01OURS", 1))
    with pytest.raises(
        JobError, match=r"of another job \(of an earlier version, without an id\), and not of job 1 \(01OURS\)"
    ):
        run_training(RunningJob.load(running_job.home, 1))


def test_an_adapter_that_cannot_be_written_ends_the_job_with_a_sentence(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    running_job = job(home, tiny_model, pairs_file, "cpo")
    (running_job.run.root / ".adapter.partial").write_text("a file where the folder should be")
    with pytest.raises(JobError, match=r"the adapter cannot be written in .*: .*; is the disk full\?$"):
        run_training(running_job)


def test_metrics_that_are_gone_at_the_end_do_not_fail_what_was_trained(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_job = job(home, tiny_model, pairs_file, "cpo")
    publish = Run.publish

    def taken_away(self: Run) -> None:
        running_job.run.metrics.unlink()
        publish(self)

    monkeypatch.setattr(Run, "publish", taken_away)
    outcome = run_training(running_job)
    assert outcome.ok
    assert training_lines(outcome.summary) == []


def test_the_row_that_is_not_finite_is_named_and_the_last_good_checkpoint_kept(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_job = job(home, tiny_model, pairs_file, training={"iters": 9, "save_every": 1, "keep_checkpoints": 1})
    run_precompute(running_job)
    lengths = {len(each.chosen.ids) - each.chosen.start: str(each) for each in running_job.data.train}
    length, row = lengths.popitem()
    assert length not in lengths
    step, loss = Trainer.step, running_job.loss

    def poisoned(x: LossInput) -> LossOutput:
        out = loss(x)
        return dataclasses.replace(out, losses=mx.where(x.policy_chosen.lengths == length, math.inf, out.losses))

    def from_step_7(self: Trainer, number: int, batches: Any, stop: Any = None) -> dict[str, float]:
        self.loss = poisoned if number >= 7 else loss
        return step(self, number, batches, stop)

    monkeypatch.setattr(Trainer, "step", from_step_7)
    with pytest.raises(JobError, match=rf"step \d: loss .* on {row}; .* the last good checkpoint is kept: ") as caught:
        run_training(running_job)
    failed = int(str(caught.value).removeprefix("step ")[0])
    folder = Path(str(caught.value).rpartition("kept: ")[2])
    assert folder.name == f"step-{failed - 2:08d}"  # that of the step before has not been tried
    assert (folder / "adapters.safetensors").is_file()


def test_a_checkpoint_that_cannot_be_written_ends_the_job_with_a_sentence(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    running_job = job(home, tiny_model, pairs_file, "cpo")
    running_job.run.checkpoints.write_text("a file where the folder should be")
    with pytest.raises(
        JobError, match=r"the checkpoint of step 3 cannot be written in .*checkpoints: .* is the disk full\?"
    ):
        run_training(running_job)


def test_held_out_rows_that_are_not_finite_stop_the_job(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_job = job(home, tiny_model, pairs_file, training={"iters": 2, "steps_per_eval": 1})
    run_precompute(running_job)
    bad = running_job.data.held_out[1].row
    original = Trainer.evaluate

    def evaluate(self: Trainer, examples: Any, stop: Any = None) -> dict[str, float]:
        losses = original(self, examples, stop)
        return losses | {"eval_loss": math.nan} if any(each.row == bad for each in examples) else losses

    monkeypatch.setattr(Trainer, "evaluate", evaluate)
    with pytest.raises(JobError, match=rf"step 1: eval_loss is nan, on the held-out pairs.jsonl:{bad};"):
        run_training(running_job)


def test_a_run_whose_chosen_answers_become_unlikely_says_so(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule itself: test_likelihood.py. Here its threshold is taken away, as a random model has little to forget."""
    monkeypatch.setattr(chosen_likelihood, "FALL_NATS", -math.inf)
    monkeypatch.setattr(chosen_likelihood, "FALL_SHARE", -math.inf)
    running_job = job(home, tiny_model, pairs_file, training={"iters": 8, "learning_rate": 3e-3, "steps_per_eval": 4})
    run_precompute(running_job)
    outcome = run_training(running_job)
    (warning,) = outcome.summary.warnings
    assert warning.startswith("eval_logps/chosen fell from ")
    facts = phase_facts("training", outcome, None)
    assert [text for name, text in facts if name == "warning"] == [warning]
