"""A job whose template prints the minute: one moment for both phases, every resume and the next job, whatever the clock shows."""

from __future__ import annotations

import json
from datetime import date, datetime
from importlib import metadata
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.runs.snapshot import Stock, freeze, read_frozen_spec
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.errors import JobError, Stopped
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.training import run as training_run
from support import tiny_model
from support.jobs_on_disk import StopAtLook, adapter_digest, again, job, run_precompute, run_training
from support.template_clock import SetClock

DATED = "{{ 'Today: ' + strftime_now('%d %b %Y %H:%M') + '\n' }}" + tiny_model.CHATML


@pytest.fixture
def dated_model(tmp_path: Path) -> Path:
    return tiny_model.build_chat(tmp_path / "model", DATED)


@pytest.mark.parametrize("day", [{}, {"date": "2026-01-31T09:30"}])
def test_a_job_resumed_minutes_later_ends_as_its_unbroken_twin_and_the_next_one_scores_nothing(
    home: Path, dated_model: Path, pairs_file: Path, set_clock: SetClock, day: dict[str, str]
) -> None:
    changes = {"data": day, "training": {"iters": 6, "save_every": 2}}
    set_clock("2026-11-28 23:59:10")
    broken = job(home, dated_model, pairs_file, job_id=1, **changes)
    scored = run_precompute(broken)
    set_clock("2026-11-29 00:03:20")
    with pytest.raises(Stopped, match="after step 3"):
        run_training(again(broken), StopAtLook(3))
    set_clock("2026-11-29 00:07:30")
    assert run_training(again(broken)).ok
    twin = job(home, dated_model, pairs_file, job_id=2, **changes)
    assert run_precompute(twin).summary.scored == 0
    assert run_training(twin).ok
    assert adapter_digest(twin) == adapter_digest(broken)
    moment = "2026-01-31 09:30:00" if day else "2024-07-26"
    assert f"prompts are rendered as of {moment} (data.date)" in scored.summary.data.notes[0]
    prompt = broken.tokenizer.decode(broken.data.train[0].chosen.prompt.tolist())
    assert prompt.startswith("Today: 31 Jan 2026 09:30\n" if day else "Today: 26 Jul 2024 00:00\n")


def test_the_day_of_the_claim_is_frozen(
    home: Path, dated_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = JobSpec.model_validate({"model": str(dated_model), "data": {"path": str(pairs_file), "date": "today"}})
    there = Home(home)
    there.create()
    run = freeze(there, 1, spec, Stock())
    today = date.today().isoformat()
    assert json.loads(run.spec.read_text())["spec"]["data"]["date"] == today
    assert freeze(there, 2, spec.dated(date(1999, 5, 1)), Stock()).read_frozen()["spec"]["data"]["date"] == "1999-05-01"  # type: ignore[index]
    assert read_frozen_spec(run).data.moment.date().isoformat() == today


def test_the_default_is_frozen_too_and_a_spec_of_before_has_it(home: Path, pairs_file: Path, dated_model: Path) -> None:
    spec = JobSpec.model_validate({"model": str(dated_model), "data": {"path": str(pairs_file)}})
    there = Home(home)
    there.create()
    run = freeze(there, 1, spec, Stock())
    document = json.loads(run.spec.read_text())
    assert document["spec"]["data"].pop("date") == "2024-07-26"
    run.spec.write_text(json.dumps(document))  # as an earlier version froze it
    assert read_frozen_spec(run).data.moment == datetime(2024, 7, 26)
    assert run_precompute(RunningJob.load(there, 1)).ok


def test_a_checkpoint_that_does_not_fit_names_what_has_changed(home: Path, dated_model: Path, pairs_file: Path) -> None:
    running_job = job(home, dated_model, pairs_file, training={"iters": 6, "save_every": 2})
    run_precompute(running_job)
    with pytest.raises(Stopped):
        run_training(running_job, StopAtLook(3))
    tiny_model.build_tokenizer(dated_model, DATED.replace("Today", "Now"))
    run_precompute(again(running_job))
    with pytest.raises(JobError) as caught:
        run_training(again(running_job))
    assert str(caught.value) == (
        "the pairs are not those that the checkpoint of step 3 was trained on; the chat template of "
        f"{dated_model} has changed since: put that back as it was, or begin anew: `prefd retry 1 --fresh`"
    )
    tiny_model.build_tokenizer(dated_model, DATED)
    assert run_training(again(running_job)).ok


def test_a_library_that_makes_other_tokens_is_named(
    home: Path, dated_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_job = job(home, dated_model, pairs_file, training={"iters": 6, "save_every": 2})
    freeze(running_job.home, 1, running_job.spec, anew=True)  # with what is known of its data
    running_job = again(running_job)
    run_precompute(running_job)
    with pytest.raises(Stopped):
        run_training(running_job, StopAtLook(3))
    original = metadata.version
    monkeypatch.setattr(training_run, "digest_examples", lambda examples: "others")
    with pytest.raises(JobError, match="so another prefd made them: go on with that one, or begin anew"):
        run_training(again(running_job))
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "tokenizers" else original(name))
    with pytest.raises(
        JobError, match=rf"; tokenizers was {original('tokenizers')} and is 0\.1: put that back as it was, or"
    ):
        run_training(again(running_job))
