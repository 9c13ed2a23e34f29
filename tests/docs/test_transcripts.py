"""What transcripts in the documentation show is what the commands print."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.store import ReferenceCache
from prefd.daemon.cli import cli
from prefd.daemon.commands import start_stop, watch
from prefd.daemon.commands.cache import explain
from prefd.daemon.commands.shared import unattended
from prefd.daemon.control.answers import parse_status
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import State
from prefd.daemon.jobs.table import Job, JobTable
from prefd.daemon.runs.data_summary import DataSummary
from prefd.daemon.runs.disk_usage import measure_run
from prefd.daemon.runs.phase_outcomes import PrecomputeOutcome, TrainingOutcome
from prefd.daemon.runs.phase_summaries import PrecomputeSummary, TrainingSummary
from prefd.daemon.runs.run_folder import Progress, RunDir
from prefd.daemon.runs.xray_summary import XRaySummary
from prefd.daemon.worker_tasks.answers import Explanation, LiveComparison
from prefd.plugins.manager import load_plugins
from support import fake_worker
from support.control_server import serving
from support.homes import add_done, invoke, make_spec, run_folder
from support.pages import blocks
from support.paths import ROOT
from support.running_daemon import Place
from support.transcripts import plain, printed, transcript, without_sizes

ROWS = ["/home/me/pairs.jsonl: 90 rows in format explicit, 90 usable", "81 pairs to train on, 9 held out"]
XRAY = XRaySummary(
    pairs=90,
    found={"suspects": 2, "against-reference": 1},
    first=["pairs.jsonl:76", "pairs.jsonl:48"],
    longer_accuracy=0.37,
    reference_accuracy=0.40,
    predicted_accuracy=0.98,
)


@pytest.mark.smol
@pytest.mark.usefixtures("answers_in_process")
def test_the_preview_is_what_prefd_prints(home: Path, smol_model: Path, tmp_path: Path) -> None:
    (block,) = (block for block in blocks("console") if "$ prefd preview" in block.text)
    command, *lines = block.text.splitlines()
    (tmp_path / "SmolLM2-135M-Instruct").symlink_to(smol_model)
    (tmp_path / "pairs.jsonl").write_bytes((ROOT / "contrib" / "demo" / "pairs.jsonl").read_bytes())
    (tmp_path / "ipo.yaml").write_text(blocks("yaml", "docs/job.md")[0].text)
    name, *arguments = command.removeprefix("$ prefd preview ").split()
    command_line = ["--home", str(home), "preview", str(tmp_path / name), *arguments]
    printed = CliRunner().invoke(cli, command_line).stdout
    printed = printed.replace(str(smol_model.resolve()), "/home/me/SmolLM2-135M-Instruct")
    printed = printed.replace(str(tmp_path), "/home/me")
    assert [line.rstrip() for line in printed.splitlines()] == lines


def assert_in_order(shown: list[str], lines: list[str]) -> None:
    """What is shown between the page's "…" is printed, in this order and in one piece."""
    rest = "\n".join(lines) + "\n"
    for piece in "\n".join(shown).split("…"):
        text = piece.strip("\n") + "\n"
        assert text in rest
        rest = rest.partition(text)[2]


def finish_training(home: Home, table: JobTable, job_id: int) -> None:
    """The page's job, trained: its evaluation, its adapter."""
    run = RunDir(home.job(job_id))
    run.adapter.mkdir()
    evaluation = {"eval_loss": 19.51, "eval_rewards/accuracies": 0.8889, "eval_rewards/margins": 0.0704}
    summary = TrainingSummary(steps=21, eval=evaluation, adapter=str(run.adapter))
    run.write_outcome("training", TrainingOutcome(ok=True, reason="", summary=summary))
    table.transition(job_id, "done", "trained 21 steps on 81 pairs", {"training": 108.0})


def score_all(scored: int) -> PrecomputeOutcome:
    """How the page's reference pass ends, that has scored so many."""
    line = f"reference: {scored} of 172 completions scored"
    data = DataSummary.model_validate({"lines": ROWS})
    return PrecomputeOutcome(ok=True, reason=line, summary=PrecomputeSummary(line=line, data=data, xray=XRAY))


def test_init_prints_what_the_page_shows(home: Path) -> None:
    assert printed(Home(home), "prefd init") == transcript("prefd init")


def test_start_prints_what_the_page_shows(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = transcript("prefd start --detach")
    monkeypatch.setattr(start_stop, "start_detached", lambda *_: int(shown[0]))
    monkeypatch.setattr("prefd.daemon.machine.blas.is_missing", lambda: False)
    assert printed(ready_home, "prefd start --detach") == shown


def test_orders_print_what_the_page_shows(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's two jobs, moved by hand through the states that they have there, as if a daemon worked on them."""
    monkeypatch.setattr(unattended, "is_worked_on", lambda *_: True)
    with JobTable.open(ready_home.database) as table:
        specs = [make_spec(name=name, training={"iters": 21}) for name in ("smol-ipo", "smol-sigmoid")]
        for spec in specs:
            run_folder(ready_home, table.add(spec, f"{spec.name}.json"))

        def move(job_id: int, *states: State, reason: str = "") -> None:
            for state in states:
                table.transition(job_id, state, reason, {"precompute": 1.0} if state == "training" else None)

        def assert_shown(command: str, which: int = 0) -> None:
            assert printed(ready_home, command) == transcript(command, which)

        move(1, "precomputing", "training")
        RunDir(ready_home.job(1)).write_progress(Progress("training", 3, 21, "steps"))
        assert_shown("prefd pause 1")
        assert_shown("prefd jobs")
        table.put_back(1, "")
        move(2, "precomputing")
        assert_shown("prefd cancel 2")
        table.put_back(2, "")
        assert_shown("prefd resume 1")
        for job_id in (1, 2):
            if job_id == 2:
                assert_shown("prefd retry 2")
            move(job_id, "training")
            move(job_id, "done", reason="trained 21 steps on 81 pairs")
            assert_shown(f"prefd wait {job_id}")
        assert_shown("prefd jobs", 1)


def test_submit_prints_what_the_page_shows(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    for name, loss in (("ipo", "ipo"), ("sigmoid", "sigmoid")):
        (place.folder / f"{name}.yaml").write_text(
            fake_worker.spec_text(place.folder, f"smol-{name}", loss={"name": loss})
        )
    with place.daemon():
        done = invoke(place.home, "submit", "ipo.yaml", "sigmoid.yaml")
    assert done.exit_code == 0, done.output
    assert plain(done.output) == transcript("prefd submit ipo.yaml sigmoid.yaml")


def test_watch_prints_what_the_page_shows(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's job, moved by hand each time that the command looks, and interrupted at its end."""
    with JobTable.open(ready_home.database) as table:
        job = table.add(make_spec(training={"iters": 21}), "ipo.json")
        run = run_folder(ready_home, job)
        table.transition(job.id, "precomputing")

        def follow(*_: object) -> Iterator[Job]:
            for done, rate, eta in ((0, None, None), (25, 3.46, 33.0), (105, 3.53, 15.0)):
                run.write_progress(Progress("precompute", done, 172, "completions", rate, eta))
                yield table.get(1)
            run.write_outcome("precompute", score_all(172))
            table.transition(1, "training", phase_seconds={"precompute": 52.0})
            numbers = {"loss": 25.0, "rewards/accuracies": 0.0, "rewards/margins": 0.0}
            for done, rate, eta, metrics in ((0, None, None, {}), (1, 0.144, 135.0, numbers)):
                run.write_progress(Progress("training", done, 21, "steps", rate, eta, metrics))
                yield table.get(1)
            raise KeyboardInterrupt

        monkeypatch.setattr(watch, "follow_job", follow)
        printed_lines = plain(invoke(ready_home, "watch", 1).output)
    assert printed_lines == [line for line in transcript("prefd watch 1") if line != "^C"]


def test_the_session_of_the_readme_prints_what_it_shows(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Job 1 is done, and job 2 trains: moved there by hand, as if a daemon worked on it."""
    home = place.home
    monkeypatch.chdir(place.folder)
    monkeypatch.setattr(unattended, "is_worked_on", lambda *_: True)
    sweep = fake_worker.spec_text(place.folder, "beta", loss={"name": "ipo"}, sweep={"loss.beta": [0.3, 0.5]})
    (place.folder / "beta.yaml").write_text(sweep)
    add_done(home, name="smol-ipo")
    checkpoint = RunDir(home.job(1)).checkpoints / "step-00000021"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"x" * 40_000)
    with place.daemon() as client:
        client.act_on_queue("pause")
        submitted = plain(invoke(home, "submit", "beta.yaml").stdout)
    assert submitted == transcript("prefd submit beta.yaml", page="README.md")
    with JobTable.open(home.database) as table:
        table.resume_queue()
        table.transition(2, "precomputing")
        table.transition(2, "training", "", {"precompute": 21.0})
        table.set_sizes({1: measure_run(RunDir(home.job(1)))})
        table.set_waiting_reasons({3: ""})
    for command in README_SESSION:
        shown = transcript(command, page="README.md")
        assert_in_order(without_sizes(shown), without_sizes(printed(home, command)))
    with JobTable.open_readonly(home.database) as table:
        assert [(job.id, job.state) for job in table.list()] == [(1, "done"), (2, "training")]
    assert not checkpoint.exists()


README_SESSION = (
    "prefd edit 3 --priority 5 --group night",
    "prefd jobs",
    "prefd cancel --group night",
    "prefd rm 3",
    "prefd clean --checkpoints",
)


@pytest.mark.parametrize("page", ["docs/job.md", "README.md"])
def test_show_prints_what_the_page_shows(ready_home: Home, page: str) -> None:
    with JobTable.open(ready_home.database) as table:
        run = run_folder(ready_home, table.add(make_spec(training={"iters": 21}), "ipo.json"))
        table.transition(1, "precomputing")
        run.write_outcome("precompute", score_all(172))
        table.transition(1, "training", score_all(172).reason, {"precompute": 52.0})
        table.request_pause(1)
        table.put_back(1, "")
        table.resume(1)
        table.transition(1, "precomputing")
        run.write_outcome("precompute", score_all(0))
        table.transition(1, "training", score_all(0).reason, {"precompute": 1.0})
        finish_training(ready_home, table, 1)
    assert_in_order(transcript("prefd show 1", page=page), printed(ready_home, "prefd show 1"))


def test_wait_prints_what_the_readme_shows(ready_home: Home) -> None:
    with JobTable.open(ready_home.database) as table:
        run_folder(ready_home, table.add(make_spec(), "ipo.json"))
        table.transition(1, "training")
        table.transition(1, "done", "trained 21 steps on 81 pairs")
    assert printed(ready_home, "prefd wait 1") == transcript("prefd wait 1", page="README.md")


def test_cache_ls_prints_what_the_page_shows(ready_home: Home) -> None:
    fingerprint = ReferenceFingerprint({"weights": "w"}, {"model": "/home/me/SmolLM2-135M-Instruct"})
    reference = ReferenceCache.open(ready_home.cache).reference(fingerprint)
    for keys, tokens in ((range(60), 30), (range(60, 120), 40), (range(120, 171), 40), (range(171, 172), 7)):
        reference.put({bytes([key]) * 32: np.full(tokens, -0.5, dtype=np.float32) for key in keys})
    shown, lines = transcript("prefd cache ls"), printed(ready_home, "prefd cache ls")
    assert re.sub(r"  \d  ", "  3  ", without_sizes(lines)[1]) == without_sizes(shown)[1]
    assert lines[0] == shown[0]


def test_cache_explain_prints_what_the_page_shows(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    explanation = Explanation(
        reference="/home/me/models/SmolLM2-135M-Instruct",
        fingerprint="13dfa6b7781f",
        known=True,
        completions=172,
        duplicates=8,
        cached=36,
        missing=136,
        tokens_scored=3244,
        tokens_run=8704,
        bytes=24_000,
        estimated_seconds=30.0,
        estimate_from="an earlier pass of this reference here",
        live=LiveComparison(before_s=34.0, opening_s=4.0, beside_s=31.0, unkept_s=62.0, epochs=2, chosen=False),
        near=[],
        data=DataSummary(),
    )
    monkeypatch.setattr(explain, "check_spec", lambda home, path: make_spec())
    monkeypatch.setattr(explain, "ask_worker", lambda *_: explanation)
    assert printed(ready_home, "prefd cache explain ipo.yaml") == transcript(
        "prefd cache explain ipo.yaml", page="docs/cache.md"
    )


def test_status_prints_what_the_page_shows(ready_home: Home) -> None:
    with JobTable.open(ready_home.database) as table:
        for name in ("smol-ipo", "smol-sigmoid"):
            job = table.add(make_spec(name=name), f"{name}.json")
            table.transition(job.id, "training")
            table.transition(job.id, "done")
    with serving(ready_home) as daemon:
        document = daemon.status().to_json()
        moments = dict.fromkeys(("last_event", "last_rescan"), time.time())
        document |= {"home": str(ready_home.root), "pid": os.getpid(), "version": version("prefd"), "uptime_s": 320.0}
        own = next(plugin for plugin in load_plugins().plugins if plugin.name == "prefd:losses")
        document |= {"watcher": document["watcher"] | moments, "catalog": {"error": None, "losses": len(own.losses)}}
        daemon.answer = parse_status(document)
        lines = without_sizes(printed(ready_home, "prefd status"))
    shown = {f"pid {os.getpid()}": "pid 31806", f"version {version('prefd')}": "version 0.3.0"}
    for printed_text, page_text in shown.items():
        lines = [line.replace(printed_text, page_text) for line in lines]
    assert lines == without_sizes(transcript("prefd status"))
