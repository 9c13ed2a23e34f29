from __future__ import annotations

import ast
import errno
import json
import logging
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import prefd.daemon
from prefd.daemon.home.layout import Home
from prefd.daemon.runs import worker_log
from prefd.daemon.runs.worker_log import bound_log
from prefd.daemon.service import logs
from prefd.daemon.service.logs import JsonFormatter, TextFormatter
from support import fake_worker
from support.running_daemon import Place


def record(message: str, *values: Any, level: int = logging.INFO, **more: Any) -> logging.LogRecord:
    log_record = logging.LogRecord(
        "prefd.daemon.service.daemon", level, "service.py", 1, message, values, more.get("exc_info")
    )
    vars(log_record).update(more.get("extra", {}))  # as the standard library does
    return log_record


def failure() -> Any:
    try:
        raise ValueError("a name\n2026-11-22 07:00:00 ERROR forged")
    except ValueError:
        return sys.exc_info()


def run(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """`code` in a process of its own, with `log` and `start_logging` at hand."""
    begin = "import logging, os, sys\nfrom pathlib import Path\nfrom prefd.daemon.home.settings import LogConfig\n"
    begin += "from prefd.daemon.service.logs import start_logging\nlog = logging.getLogger('prefd.test')\n"
    command = [sys.executable, "-c", begin + code, *map(str, arguments)]
    env = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"} | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)


def test_a_line_has_time_level_and_message() -> None:
    line = TextFormatter(timestamps=True).format(record("job %d queued: %s", 3, "smol"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO job 3 queued: smol", line)


def test_a_json_record_says_when_what_and_of_which_job() -> None:
    log_record = record("job %d queued: %s", 3, "smol", extra={"job": 3})
    document = json.loads(JsonFormatter().format(log_record))
    moment = datetime.fromisoformat(document.pop("time"))
    assert abs(moment - datetime.fromtimestamp(log_record.created, UTC)) < timedelta(milliseconds=1)
    assert document == {
        "level": "info",
        "event": "job %d queued: %s",
        "message": "job 3 queued: smol",
        "logger": "prefd.daemon.service.daemon",
        "job": 3,
    }
    assert "job" not in json.loads(JsonFormatter().format(record("rejected %s", "job 3")))


def test_whatever_is_logged_of_a_job_has_its_number_in_a_field() -> None:
    """A call without it would be missing where a log is searched for a job, and nothing else would show it."""
    calls = [
        (path.name, ast.unparse(call))
        for path in Path(prefd.daemon.__path__[0]).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and re.match(r"log\.(debug|info|warning|error|exception)\(", ast.unparse(call))
    ]
    of_jobs = [(name, text) for name, text in calls if "job %d" in text or "job_id" in text or "job.id" in text]
    assert len(of_jobs) > 10
    assert [(name, text) for name, text in of_jobs if "extra=" not in text] == []


def test_a_failure_brings_its_traceback() -> None:
    log_record = record("job %d", 3, level=logging.ERROR, exc_info=failure())
    assert "ValueError: a name" in json.loads(JsonFormatter().format(log_record))["traceback"]
    lines = TextFormatter(timestamps=True).format(log_record).splitlines()
    assert "    ValueError: a name" in lines
    assert "    2026-11-22 07:00:00 ERROR forged" in lines, "not at the margin, where a record would start"


@given(st.text())
def test_no_name_forges_a_record(name: str) -> None:
    log_record = record("rejected %s: %s", name, "unreadable")
    first, *rest = TextFormatter(timestamps=False).format(log_record).split("\n")
    assert first.startswith("INFO rejected ")
    assert all(line.startswith("    ") for line in rest)
    assert all(line.isprintable() for line in (first, *rest))
    line = JsonFormatter().format(log_record)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == f"rejected {name}: unreadable"


def test_a_name_that_is_not_utf8_is_logged(tmp_path: Path) -> None:
    code = "start_logging(LogConfig(), Path(sys.argv[1]))\nlog.info('found %s', os.fsdecode(b'a\\xff.yaml'))"
    assert run(code, tmp_path / "d.log").returncode == 0
    assert (tmp_path / "d.log").read_text().endswith("INFO found a\\udcff.yaml\n")


def test_the_file_is_rotated_by_size_and_so_many_are_kept(tmp_path: Path) -> None:
    code = (
        "start_logging(LogConfig(max_bytes=1000, keep=2), Path(sys.argv[1]))\n"
        "for number in range(100): log.info('record %d of a hundred', number)\n"
    )
    assert run(code, tmp_path / "d.log").returncode == 0
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["d.log", "d.log.1", "d.log.2"]
    assert all(path.stat().st_size <= 1000 for path in files)
    lines = "".join((tmp_path / name).read_text() for name in ("d.log.2", "d.log.1", "d.log")).splitlines()
    numbers = [int(line.split()[4]) for line in lines]
    assert numbers == list(range(numbers[0], 100)), "the newest, with none missing between"


def test_what_is_written_past_the_log_is_in_it_after_a_rotation_too(tmp_path: Path) -> None:
    code = (
        "start_logging(LogConfig(max_bytes=1000, keep=1), Path(sys.argv[1]))\n"
        "for number in range(100): log.info('record %d', number)\n"
        "import ctypes, faulthandler\nprint('printed', flush=True)\nimport warnings\nwarnings.warn('warned')\n"
        "faulthandler._sigsegv()\n"
    )
    died = run(code, tmp_path / "d.log")
    assert (died.returncode, died.stdout) == (-11, "")
    text = (tmp_path / "d.log").read_text()
    assert "\nprinted\n" in text
    assert "UserWarning: warned" in text
    assert "Fatal Python error: Segmentation fault" in text


def test_levels_below_the_configured_one_are_left_out() -> None:
    done = run("start_logging(LogConfig(level='warning'), None)\nlog.info('one')\nlog.warning('two')")
    assert [line.split(" ", 2)[2] for line in done.stderr.splitlines()] == ["WARNING two"]


def test_in_the_foreground_it_goes_to_stderr_and_json_is_json() -> None:
    done = run("start_logging(LogConfig(format='json'), None)\nlog.info('job %d queued', 4, extra={'job': 4})")
    assert json.loads(done.stderr)["job"] == 4
    assert done.stdout == ""


def test_the_journal_gets_severities_and_no_second_time(tmp_path: Path) -> None:
    code = (
        "info = os.fstat(2)\nos.environ['JOURNAL_STREAM'] = f'{info.st_dev}:{info.st_ino}'\n"
        "start_logging(LogConfig(), None)\nlog.info('one')\nlog.error('two\\nlines')"
    )
    assert run(code).stderr == "<6>INFO one\n<3>ERROR two\n<3>    lines\n"
    elsewhere = run("start_logging(LogConfig(), None)\nlog.info('one')", JOURNAL_STREAM="1:2")
    assert re.match(r"\d{4}-", elsewhere.stderr), "stderr has been led elsewhere since"


@pytest.fixture
def log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> logs.LogFile:
    monkeypatch.setattr(os, "dup2", lambda *_: None)  # this process's own output stays where it is
    return logs.LogFile(tmp_path / "d.log", 2000, 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_loses_records_says_so_and_ends_nothing(
    log_file: logs.LogFile, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log_file.emit(record("before"))
    log_file.stream.close()
    for number in range(3):
        log_file.stream = Path("/dev/full").open("w")  # noqa: SIM115  # every flush of it is ENOSPC
        log_file.emit(record("lost %d", number))
    assert log_file.lost == 3
    log_file.emit(record("after"))
    log_file.close()
    assert (tmp_path / "d.log").read_text().splitlines() == [
        "before",
        "after",
        "3 records before this one could not be written: was the disk full?",
    ]
    assert capfd.readouterr().err == "", "nothing is told to a stderr that may be the same full disk"


def test_a_log_whose_rotation_fails_goes_on(
    log_file: logs.LogFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(log_file, "rotate", refuse)
        for number in range(100):
            log_file.emit(record("record %d of a hundred", number))
    lost = log_file.lost
    assert lost > 0
    log_file.emit(record("after"))
    log_file.close()
    assert f"{lost} records before this one" in (tmp_path / "d.log").read_text()
    assert (tmp_path / "d.log.1").exists()


def test_a_workers_log_is_cut_once_it_is_too_long_and_the_worker_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    code = "import time\nfor n in range(10**9): print('line', n, flush=True); n % 50 or time.sleep(0.001)"
    with log.open("ab") as out:
        writer = subprocess.Popen([sys.executable, "-c", code], stdout=out)
    try:
        cuts = 0
        while cuts < 3:
            assert writer.poll() is None
            cuts += bound_log(log, 20_000)
        size = log.stat().st_size
        while log.stat().st_size == size:
            assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()
    text = log.read_bytes()
    assert b"\0" not in text, "it goes on at the start of the file"
    assert b"this log was longer than 20,000 bytes; it goes on here" in text
    assert (tmp_path / "worker.log.1").stat().st_size > 20_000
    assert bound_log(log, 10**9) is False
    assert bound_log(tmp_path / "none.log", 0) is False


def test_the_daemon_bounds_the_log_of_a_job_that_writes_without_end(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_log, "WORKER_LOG_BYTES", 5000)
    ready_home = Home(home)
    ready_home.create()
    place = Place(ready_home, tmp_path, fake_worker.make_worker(tmp_path))
    folder = ready_home.job(1)
    with place.daemon() as client:
        place.drop("noisy.json", name="noisy")
        fake_worker.wait_for(lambda: (folder / "worker.log.1").exists())
        first = (folder / "worker.log.1").stat().st_mtime_ns
        fake_worker.wait_for(lambda: (folder / "worker.log.1").stat().st_mtime_ns > first)
        assert (folder / "worker.log").stat().st_size < 10_000
        client.act("cancel", 1)
        place.wait_for("cancelled")
