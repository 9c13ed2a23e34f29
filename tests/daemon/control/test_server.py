import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from prefd.daemon.control import server
from prefd.daemon.control.client import Client, DaemonNotRunning
from prefd.daemon.control.control_error import ControlError
from prefd.daemon.control.server import listening, serve_app
from prefd.daemon.home.identity import read_folder_id
from prefd.daemon.home.layout import Home
from prefd.daemon.home.lock import find_holder, hold_lock
from prefd.daemon.jobs.actions import QUEUE_ACTIONS
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.machine.files import write_json
from support import drives, homes
from support.control_server import serving, talking
from support.loop_thread import running_in_thread
from support.running_daemon import Place


def test_every_request_is_answered(ready_home: Home) -> None:
    with serving(ready_home) as daemon:
        client = Client(ready_home)
        homes.add_queued(ready_home)
        assert client.status().pid == 42
        assert client.act("cancel", 1).state == "cancelled"
        for action in QUEUE_ACTIONS:
            paused_at = client.act_on_queue(action).queue.paused_at
            assert (paused_at is None) == action.startswith("resume")
        client.stop()
        assert daemon.stops == 1


def test_an_unknown_job_is_404_in_the_daemons_words(ready_home: Home) -> None:
    with serving(ready_home), pytest.raises(ControlError, match=r"^there is no job 7$") as caught:
        Client(ready_home).act("cancel", 7)
    assert caught.value.status == 404


def test_what_a_jobs_state_forbids_is_409(ready_home: Home) -> None:
    with JobTable.open(ready_home.database) as table:
        table.add(homes.make_spec(), "a.yaml", owner="run:7")
    with serving(ready_home), pytest.raises(ControlError, match=r"^job 1 is run by `prefd run`") as caught:
        Client(ready_home).act("pause", 1)
    assert caught.value.status == 409


def test_a_failure_in_the_daemon_is_500_as_json(ready_home: Home) -> None:
    with serving(ready_home) as daemon:
        daemon.failure = RuntimeError("the database is on fire")
        with pytest.raises(ControlError, match=r"^RuntimeError: the database is on fire$") as caught:
            Client(ready_home).status()
    assert caught.value.status == 500


def test_what_is_still_answered_at_the_end_is_refused_in_words_and_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    began = threading.Event()

    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        began.set()
        await asyncio.Event().wait()

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        limits = {"timeout_graceful_shutdown": 0.1}
        with running_in_thread(lambda: serve_app(never, lambda: None, listener, limits)):
            pending = pool.submit(httpx.get, address, timeout=60, trust_env=False)
            assert began.wait(60)
    assert (pending.result().status_code, pending.result().json()["error"]) == (
        503,
        "it was stopped before it could answer: ask again once it runs",
    )
    assert "Traceback" not in caplog.text
    assert "Cancel" not in caplog.text


def test_what_is_not_there_is_json_too(ready_home: Home) -> None:
    with serving(ready_home), talking(ready_home) as http:
        for method, path, status in (
            ("GET", "/v2/x", 404),
            ("DELETE", "/v1/status", 405),
            ("POST", "/v1/jobs/x/cancel", 404),
        ):
            reply = http.request(method, path)
            assert reply.status_code == status
            assert reply.json()["error"].startswith(f"{method} {path}: ")


def test_only_this_user_can_reach_the_socket(short_home: Home) -> None:
    with listening(short_home):
        assert stat.S_IMODE(short_home.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(short_home.run.stat().st_mode) == 0o700
    assert not short_home.socket.exists()


def test_an_ending_daemon_leaves_the_socket_of_the_home_that_is_in_its_homes_place(
    short_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of its own socket is free once that is closed, and many file systems give it to the next file."""
    monkeypatch.setattr(
        server, "read_folder_id", lambda path: (1, 1) if path == short_home.socket else read_folder_id(path)
    )
    with hold_lock(short_home), listening(short_home) as listener:
        listener.close()
        short_home.root.rename(short_home.root.with_name("away"))
        short_home.create()
        short_home.lock.touch()
        short_home.socket.touch()
    assert short_home.socket.exists()


def test_a_home_that_others_could_enter_is_closed_to_them_again(home: Path) -> None:
    ready_home = Home(home)
    ready_home.create()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    ready_home.run.chmod(0o755)
    ready_home.create()
    assert stat.S_IMODE(ready_home.run.stat().st_mode) == 0o700


def test_a_socket_left_by_a_killed_daemon_is_replaced(short_home: Home) -> None:
    short_home.socket.write_text("stale")
    with serving(short_home):
        assert Client(short_home).status().pid == 42
        assert short_home.socket.is_socket()


def test_a_home_too_deep_for_a_socket_listens_in_a_private_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = tempfile.TemporaryDirectory(prefix="pf-", dir="/tmp")
    monkeypatch.setattr(tempfile, "tempdir", short.name)
    deep = Home(tmp_path / ("d" * 60) / ("e" * 60))
    deep.create()
    with serving(deep):
        assert Client(deep).status().pid == 42
        assert not deep.socket.exists()
        (private,) = Path(short.name).glob("prefd-*/prefd.sock")
        assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    assert not private.parent.exists()
    short.cleanup()


def test_a_temporary_folder_too_deep_for_a_socket_is_not_taken(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home deep below $TMPDIR, as on macOS and in tests of tests."""
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    ready_home = Home(deep / "home")
    ready_home.create()
    with hold_lock(ready_home), listening(ready_home) as listener:
        path = Path(listener.getsockname())
        assert path.parent.parent == Path("/tmp")
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()
    assert list(deep.glob("prefd-*")) == []


def test_a_home_on_a_drive_without_sockets_and_rights_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = tempfile.TemporaryDirectory(prefix="pf-", dir="/tmp")
    monkeypatch.setattr(tempfile, "tempdir", short.name)
    drives.keep_no_rights(monkeypatch, tmp_path)
    there = Home(tmp_path / "drive")
    there.create()
    assert there.close_to_others() is None, "nothing can be closed there"
    with serving(there):
        assert Client(there).status().pid == 42
        assert not there.socket.exists()
    short.cleanup()


def test_no_daemon_is_said_with_the_remedy(ready_home: Home, tmp_path: Path) -> None:
    for home in (Home(tmp_path / "nowhere"), ready_home):
        with pytest.raises(DaemonNotRunning, match=rf"^no daemon runs on {home.root}; start one with `prefd start`$"):
            Client(home).status()
    ready_home.socket.write_text("not a socket")
    with pytest.raises(DaemonNotRunning):
        Client(ready_home).status()
    assert not (tmp_path / "nowhere").exists()


def test_a_daemon_that_does_not_answer_is_not_waited_for_for_ever(short_home: Home) -> None:
    with hold_lock(short_home), listening(short_home) as listener:
        listener.listen()
        with pytest.raises(ControlError, match=r"^the daemon did not answer within 0\.2 s$"):
            Client(short_home, timeout=0.2).status()


def test_what_a_killed_daemon_left_behind_stops_nobody(place: Place) -> None:
    """Lock file, a socket that nobody listens on, and a pid that is another program's by now."""
    home = place.home
    home.lock.touch()
    with socket.socket(socket.AF_UNIX) as dead, contextlib.chdir(home.run):  # its whole path may be too long
        dead.bind(home.socket.name)
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_json(home.run / "daemon.json", {"pid": other.pid, "started_at": 1.0, "socket": str(home.socket)})
    try:
        assert find_holder(home) is None
        with pytest.raises(DaemonNotRunning):
            Client(home).status()
        with place.daemon() as client:
            assert client.status().pid == os.getpid()
        assert other.poll() is None
    finally:
        other.communicate(b"\n")
