"""`prefd init`, `start`, `stop`, `status`, on a real daemon where one is needed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.control.client import Client, DaemonNotRunning
from prefd.daemon.home import lock
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config
from support import homes
from support.control_server import serving
from support.homes import invoke


@pytest.fixture
def there(home: Path) -> Iterator[Home]:
    """A home whose daemon, if a test starts one, is gone afterwards."""
    ready_home = Home(home)
    yield ready_home
    if home.is_dir() and (held := lock.find_holder(ready_home)) is not None:
        os.kill(held.pid, signal.SIGKILL)


def test_init_makes_a_home_and_a_config_that_is_all_defaults(there: Home) -> None:
    result = invoke(there, "init")
    assert result.exit_code == Exit.OK, result.output
    assert result.stdout == f"{there.root}\n"
    assert there.jobs.is_dir()
    assert there.run.stat().st_mode & 0o777 == 0o700
    assert there.config.read_text() == Config.template()
    assert Config.load(there) == Config()


def test_init_again_changes_nothing(there: Home) -> None:
    invoke(there, "init")
    there.config.write_text("stop_grace_seconds = 5.0\n")
    result = invoke(there, "init")
    assert result.exit_code == Exit.OK
    assert "there already" in result.stderr
    assert there.config.read_text() == "stop_grace_seconds = 5.0\n"


def test_status_and_stop_without_a_daemon(there: Home) -> None:
    homes.add_queued(there)
    result = invoke(there, "status")
    assert result.exit_code == Exit.NO_DAEMON
    assert "not running" in result.stdout
    assert "1 queued" in result.stdout
    assert "prefd start" in result.stderr
    document = json.loads(invoke(there, "status", "--json").stdout)
    assert document["running"] is False
    assert document["jobs"]["queued"] == 1
    assert document["usage"]["disk"]["free_bytes"] > 0
    assert document["usage"]["memory"]["daemon_bytes"] is None
    assert "disk    cache 0 B, runs " in result.stdout
    assert invoke(there, "stop").exit_code == Exit.NO_DAEMON


def test_stop_waits_for_a_daemon_that_is_ending_already(ready_home: Home) -> None:
    """It listens no more, and has not given up the home's lock: once it has, nothing is left to do."""
    held, timer = threading.Event(), threading.Event()

    def end_slowly() -> None:
        with lock.hold_lock(ready_home):
            held.set()
            timer.wait(0.3)

    ending = threading.Thread(target=end_slowly)
    ending.start()
    assert held.wait(60)
    stopped = invoke(ready_home, "stop", "--json")
    ending.join()
    assert (stopped.exit_code, json.loads(stopped.stdout)) == (Exit.OK, {"schema": 1, "stopped": True, "pid": None})


def test_stop_of_a_daemon_that_ends_by_itself_meanwhile_is_no_failure(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its home went away and came back, say, between the question whether it is there and the request to stop."""

    def find_it_gone(client: Client, wait_seconds: float) -> bool:
        raise DaemonNotRunning("no daemon runs")

    monkeypatch.setattr(Client, "stop", find_it_gone)
    with serving(ready_home):
        stopped = invoke(ready_home, "stop")
    assert (stopped.exit_code, stopped.stderr) == (Exit.OK, "the daemon has stopped\n")


@pytest.mark.parametrize("missing", [True, False])
def test_start_warns_where_the_workers_will_find_no_fast_blas(
    there: Home, monkeypatch: pytest.MonkeyPatch, missing: bool
) -> None:
    monkeypatch.setattr("prefd.daemon.machine.blas.is_missing", lambda: missing)
    monkeypatch.setattr("prefd.daemon.commands.start_stop.start_detached", lambda home, timing, options: 7)
    result = invoke(there, "start", "--detach")
    assert result.stdout == "7\n"
    assert ("warning: no fast BLAS found" in result.stderr) == missing


@pytest.mark.slow
def test_a_detached_daemon_answers_takes_a_job_and_stops(
    there: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    started = invoke(there, "start", "--detach")
    assert started.exit_code == Exit.OK, started.output + there.log.read_text()
    pid = int(started.stdout)
    assert os.getsid(pid) == pid, "closing the terminal does not end it"

    shown = invoke(there, "status")
    assert shown.exit_code == Exit.OK
    assert f"pid {pid}" in shown.stdout
    document = json.loads(invoke(there, "status", "--json").stdout)
    assert document["running"] is True
    assert 20e6 < document["usage"]["memory"]["daemon_bytes"] < 150e6, "mlx is not in it"
    assert "memory    daemon " in shown.stdout

    again = invoke(there, "start", "--detach")
    assert again.exit_code == Exit.FAILED
    assert f"pid {pid}" in again.stderr

    spec = homes.write_spec(tmp_path / "first.json", tiny_model, pairs_file)
    submitted = json.loads(invoke(there, "submit", spec, "--json").stdout)
    assert submitted["daemon"] is True
    assert submitted["submitted"][0]["job"] == 1
    assert invoke(there, "cancel", 1).exit_code == Exit.OK
    assert invoke(there, "wait", 1).exit_code == Exit.JOB_FAILED

    assert invoke(there, "stop").exit_code == Exit.OK
    assert lock.find_holder(there) is None
    assert invoke(there, "status").exit_code == Exit.NO_DAEMON


@pytest.mark.slow
def test_a_daemon_that_cannot_start_shows_the_end_of_its_log(there: Home) -> None:
    there.create()
    there.config.write_text("stop_grace_seconds = 'long'\n")
    result = invoke(there, "start", "--detach")
    assert result.exit_code == Exit.FAILED
    assert "stop_grace_seconds" in result.stderr
    assert str(there.log) in result.stderr


@pytest.mark.slow
def test_a_foreground_daemon_tells_systemd_how_it_is_and_ends_cleanly_on_ctrl_c(there: Home, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "prefd.daemon.cli", "--home", str(there.root), "start"]
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(60)
    environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    daemon = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 60
    while not there.root.is_dir() or lock.find_holder(there) is None:
        assert daemon.poll() is None, daemon.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    while invoke(there, "status").exit_code != Exit.OK:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [manager.recv(4096) for _ in range(3)] == [b"READY=1", b"STATUS=no jobs yet", b"WATCHDOG=1"]
    daemon.send_signal(signal.SIGINT)
    out, err = daemon.communicate(timeout=60)
    while not (message := manager.recv(4096)).startswith(b"STOPPING=1"):
        assert message == b"WATCHDOG=1"
    manager.close()
    assert daemon.returncode == 0, err
    assert out == "", "logs go to stderr"
    assert f"made a home at {there.root}" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("service", "code"), [("prefd", Exit.OK), ("0", Exit.FAILED), (None, Exit.FAILED)])
def test_launchd_is_not_told_to_start_it_again_beside_another_daemon(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch, service: str | None, code: Exit
) -> None:
    monkeypatch.delenv("XPC_SERVICE_NAME", raising=False)
    if service is not None:
        monkeypatch.setenv("XPC_SERVICE_NAME", service)
    with lock.hold_lock(ready_home):
        result = invoke(ready_home, "start")
    assert result.exit_code == code
    assert "already serves" in result.stderr
