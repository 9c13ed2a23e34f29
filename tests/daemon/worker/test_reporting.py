"""A job's metrics reach a reporter once each, whatever happens to the job, to the reporter or to the process between them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import write_json
from prefd.daemon.machine.interpreter import WORKER
from prefd.daemon.runs.report_files import ReportFiles, ReportState, list_reports
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.worker.reporting import ReportFailed, WatchedCalls, report
from prefd.daemon.worker_tasks.reports import JobEnd, ReportInput
from support.fake_worker import wait_for
from support.reported_runs import KEEPER, line, write_lines

ULID = "01M8KYWXN2071EGHRK2CMNC2CG"
DONE = JobEnd(state="done", reason="trained")


@pytest.fixture
def run(ready_home: Home, tmp_path: Path) -> RunDir:
    """A job's folder, in a home with the plugin `KEEPER`."""
    (ready_home.root / "keeper.py").write_text(KEEPER)
    ready_home.config.write_text('plugins = ["keeper.py"]\n')
    run = RunDir(ready_home.job(1), ULID)
    run.root.mkdir()
    spec = {"name": "ipo", "model": "m", "data": {"path": "p"}, "training": {"iters": 4}}
    identity = {"job": ULID, "number": 1, "home": "h", "name": "ipo"}
    write_json(run.spec, {"spec": spec, "identity": identity})
    return run


def send(home: Home, to: str = "keeper", end: JobEnd | None = DONE, messages: bytes = b"") -> int:
    return report(home, ReportInput(job=1, to=to, project="prefd", end=end), io.BytesIO(messages)).rows


def read_reports(run: RunDir) -> list[Any]:
    path = run.root / "reports" / "keeper" / "rows.jsonl"
    return [json.loads(each) for each in path.read_text().splitlines()]


def test_a_reporter_gets_each_row_and_the_end_and_its_state_says_so(ready_home: Home, run: RunDir) -> None:
    write_lines(run.metrics, line(1), line(2), line(2, held_out=True))
    assert send(ready_home) == 3
    assert read_reports(run) == [
        [1, False, {"epoch": 0.25, "loss": 1.0, "rewards/margins": 0.5}],
        [2, False, {"epoch": 0.5, "loss": 0.5, "rewards/margins": 1.0}],
        [2, True, {"epoch": 0.5, "eval_loss": 0.5, "eval_rewards/margins": 1.0}],
        ["end", "done"],
    ]
    assert list_reports(run) == [ReportState("keeper", ULID, "a file", train=2, held_out=2, rows=3, state="done")]
    runs = (run.root / "reports" / "keeper" / "runs.txt").read_text()
    assert runs == f"{ULID.lower()} ipo-mnc2cg prefd\n"


def test_a_job_that_goes_on_from_its_checkpoint_is_reported_on_without_a_step_twice(
    ready_home: Home, run: RunDir
) -> None:
    write_lines(run.metrics, line(1), line(2), line(2, held_out=True), line(3))
    assert send(ready_home, end=None) == 4
    assert list_reports(run)[0].state == "left open"
    write_lines(run.metrics, line(1), line(2), line(2, held_out=True), line(3), line(4), line(4, held_out=True))
    assert send(ready_home) == 6
    assert [each[0] for each in read_reports(run)] == [1, 2, 2, 3, "end", 4, 4, "end"]


def test_a_job_that_begins_anew_is_another_run(ready_home: Home, run: RunDir) -> None:
    write_lines(run.metrics, line(1))
    send(ready_home)
    run.set_aside(1)
    write_lines(run.metrics, line(1))
    assert send(ready_home) == 1
    assert (run.root / "reports" / "keeper" / "runs.txt").read_text() == f"{ULID.lower()}-2 ipo-mnc2cg-2 prefd\n"


def test_rows_are_followed_while_the_job_trains(ready_home: Home, run: RunDir) -> None:
    reading, writing = os.pipe()
    request = ReportInput(job=1, to="keeper", project="prefd")
    with open(reading, "rb", buffering=0) as messages:
        thread = threading.Thread(target=report, args=(ready_home, request, messages))
        thread.start()
        write_lines(run.metrics, line(1))
        os.write(writing, JobEnd(state="failed", reason="out of memory").to_line())
        os.close(writing)
        thread.join(60)
    assert [each[0] for each in read_reports(run)] == [1, "end"]
    assert list_reports(run)[0].state == "failed"


def test_a_reporter_that_raises_is_told_and_what_it_has_is_kept(ready_home: Home, run: RunDir) -> None:
    write_lines(run.metrics, line(1), line(2))
    with pytest.raises(ReportFailed, match="log of the reporter broken raised ConnectionError: no route to host"):
        send(ready_home, "broken")
    (state,) = list_reports(run)
    assert state.error == "log of the reporter broken raised ConnectionError: no route to host"
    (state_of_the_first_row,) = (run.root / "reports" / "broken" / "rows.jsonl").read_text().splitlines()
    assert json.loads(state_of_the_first_row)[0] == 1


def test_a_call_that_does_not_return_is_given_up() -> None:
    given_up = threading.Event()
    reasons: list[str] = []

    def give_up(reason: str) -> None:
        reasons.append(reason)
        given_up.set()

    call = WatchedCalls("slow", 0.02, give_up)
    call.watch()
    with call.named("log"):
        assert given_up.wait(60)
    assert reasons[0] == "log of the reporter slow has not returned for 0.02 s"


def test_two_processes_do_not_report_the_same_job_at_once(ready_home: Home, run: RunDir) -> None:
    import fcntl

    files = ReportFiles(run, "keeper")
    files.root.mkdir()
    with files.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ReportFailed, match="another process reports this job to keeper already"):
            send(ready_home)


def test_a_name_that_no_plugin_brings_is_refused_with_those_that_are_known(ready_home: Home, run: RunDir) -> None:
    with pytest.raises(ReportFailed, match=r"no reporter is called 'nowhere'; known: broken, keeper, .*tensorboard"):
        send(ready_home, "nowhere")


@pytest.mark.thorough
def test_a_process_that_was_killed_is_followed_by_one_that_sends_the_rest(ready_home: Home, run: RunDir) -> None:
    (ready_home.root / "keeper.py").write_text(KEEPER + "\nimport atexit\natexit.register(print, 'goodbye')\n")
    rows = run.root / "reports" / "keeper" / "rows.jsonl"
    command = [*WORKER, "report", "--home", str(ready_home.root), "--job", "1"]
    environment = os.environ | {"PREFD_PARENT": str(os.getpid())}

    def begin() -> subprocess.Popen[bytes]:
        begun = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert begun.stdin is not None
        begun.stdin.write(ReportInput(job=1, to="keeper", project="prefd").model_dump_json().encode() + b"\n")
        begun.stdin.flush()
        return begun

    write_lines(run.metrics, line(1), line(2))
    with begin() as killed:
        wait_for(lambda: list_reports(run) != [] and list_reports(run)[0].train == 2)
        killed.kill()
    assert [each[0] for each in read_reports(run)] == [1, 2]
    write_lines(run.metrics, line(1), line(2), line(3))
    with begin() as ending:
        wait_for(lambda: len(rows.read_text().splitlines()) == 3)
        answer, _ = ending.communicate(DONE.to_line(), 120)
    assert (ending.returncode, json.loads(answer)) == (0, {"rows": 3, "place": "a file"})
    assert [each[0] for each in read_reports(run)] == [1, 2, 3, "end"]
