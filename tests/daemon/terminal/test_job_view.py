from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import Job, JobTable
from prefd.daemon.runs.run_folder import Progress, RunDir
from prefd.daemon.terminal import job_view
from support import homes


@pytest.fixture
def there(home: Path) -> Home:
    return Home(home)


def console(terminal: bool) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    width = 80 if terminal else 10_000
    new_console = Console(
        file=written, force_terminal=terminal, width=width, highlight=False, markup=False, no_color=True
    )
    return new_console, written


def training(done: int, **fields: object) -> Progress:
    metrics = {"loss": 0.5931, "rewards/accuracies": 0.625, "rewards/margins": 0.1875}
    return replace(Progress("training", done, 300, "steps", 1.5, 127.0, metrics, updated_at=time.time()), **fields)


def story(there: Home) -> list[tuple[Job, Progress | None]]:
    """A job as its watcher sees it, from queued to done."""
    done = homes.add_done(there)
    steps = replace(done, state="training", phase_seconds={"precompute": 31.6})
    return [
        (replace(done, state="queued", phase_seconds={}), None),
        (
            replace(done, state="precomputing", phase_seconds={}),
            Progress("precompute", 100, 212, "completions", 6.6, 17.0),
        ),
        (steps, None),
        (steps, training(120)),
        (steps, training(121)),
        (done, None),
    ]


def test_without_a_terminal_there_are_plain_lines_and_few_of_them(there: Home) -> None:
    output, written = console(terminal=False)
    with job_view.make_job_view(there, output) as view:
        for job, progress in story(there):
            view.update(job, progress)
    lines = written.getvalue().splitlines()
    assert "\x1b" not in written.getvalue()
    assert lines[0] == "job 1  smol-ipo"
    assert lines[1] == "queued"
    assert lines[2].split() == ["precompute", "100/212", "completions", "6.6", "completions/s", "ETA", "17s"]
    assert lines[3:7] == [
        f"{name:<14}{line}" for name, line in zip(("rows", "", "", ""), homes.REPORT["lines"], strict=True)
    ]
    assert lines[7] == "precompute    32s; reference: 212 of 252 completions scored"
    assert "120/300 steps" in lines[8]
    assert "loss 0.5931  accuracy 0.6250  margin 0.1875" in lines[8]
    assert lines[9].startswith("training      48s; 12 steps; loss 0.6681 → 0.3931, accuracy"), "rows are told once"
    assert lines[10] == "done"
    assert lines[11] == f"adapter       {there.job(1) / 'adapter'}"
    assert len(lines) == 12, "the second report within ten seconds is passed over"


def test_on_a_terminal_the_block_is_redrawn_and_the_milestones_stay(there: Home) -> None:
    output, written = console(terminal=True)
    with job_view.make_job_view(there, output) as view:
        for job, progress in story(there):
            view.update(job, progress)
            view.live.refresh()  # type: ignore[attr-defined]  # it is the terminal's view
    text = written.getvalue()
    for part in [
        "120/300 steps  40%",
        "ETA 2m07s",
        "loss 0.5931",
        "reference: 212 of 252 completions scored",
        "adapter",
    ]:
        assert part in text


def test_the_block_of_a_phase_that_has_not_reported_yet(there: Home) -> None:
    job = homes.add_running(there)
    output, written = console(terminal=False)
    output.print(job_view.draw_block(job, None))
    output.print(job_view.draw_block(job, Progress("precompute", 212, 212, "completions")))
    assert written.getvalue().splitlines() == ["training      starting", "training      starting"]


def test_a_failed_phase_shows_the_whole_reason_once(there: Home) -> None:
    job = homes.add_failed(there, reason="the model cannot be loaded\nno safetensors in /models/x")
    output, written = console(terminal=False)
    with job_view.make_job_view(there, output) as view:
        view.update(replace(job, state="precomputing"), None)
        view.update(job, None)
    assert written.getvalue().splitlines()[1:] == [
        "failed: the model cannot be loaded",
        "  no safetensors in /models/x",
    ]


def test_a_job_that_goes_back_to_the_queue_is_told(there: Home) -> None:
    job = homes.add_running(there)
    with JobTable.open(there.database) as jobs:
        back = jobs.transition(job.id, "queued", "the daemon is stopping")
    output, written = console(terminal=False)
    with job_view.make_job_view(there, output) as view:
        view.update(job, RunDir(there.job(job.id)).progress())
        view.update(back, None)
    assert written.getvalue().splitlines()[-1] == "queued: the daemon is stopping"


def test_eta_counts_down_between_reports() -> None:
    assert job_view.describe_pace(training(1, updated_at=time.time() - 27)).endswith("ETA 1m40s")
    assert job_view.describe_pace(training(1, updated_at=time.time() - 999)).endswith("ETA 0.0s")
    assert job_view.describe_pace(training(1, rate=None, eta_s=None)) == ""
