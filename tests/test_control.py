import asyncio
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from prefd.daemon.actions import JOB_ACTIONS, QUEUE_ACTIONS
from prefd.daemon.client import Client, ControlError, DaemonNotRunning
from prefd.daemon.control import listening, serve_control
from prefd.daemon.home import Home
from prefd.daemon.jobs import Job, JobTable
from prefd.daemon.lock import announce
from prefd.daemon.spec import JobSpec

SPEC = JobSpec.model_validate({"name": "a", "model": "m", "data": {"path": "p"}})


class FakeDaemon:
    def __init__(self) -> None:
        self.stops = 0

    def status(self) -> dict[str, Any]:
        return {"pid": 42}

    def request_stop(self) -> None:
        self.stops += 1

    def act(self, action: str, job_id: int) -> Job:
        if job_id == 13:
            raise RuntimeError("the database is on fire")
        with JobTable.open(Path(":memory:")) as table:
            table.add(SPEC, "a.yaml", owner="run:7")
            return JOB_ACTIONS[action](table, job_id)

    def act_on_queue(self, action: str) -> dict[str, Any]:
        return {"asked": action}


@contextmanager
def serving(home: Home) -> Iterator[FakeDaemon]:
    """A control API in a thread of its own."""
    daemon, ready = FakeDaemon(), threading.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        with listening(home) as listener:
            announce(home, listener.getsockname())
            task = asyncio.ensure_future(serve_control(daemon, listener))
            while listener.fileno() >= 0 and not ready.is_set():
                await asyncio.sleep(0.05)
                ready.set()
            await done.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    done = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield daemon
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


@pytest.fixture
def made(home: Path) -> Home:
    made = Home(home)
    made.create()
    return made


def test_every_request_is_answered(made: Home) -> None:
    with serving(made) as daemon:
        client = Client(made)
        assert client.status() == {"pid": 42}
        assert client.act("cancel", 1)["state"] == "cancelled"
        for action in QUEUE_ACTIONS:
            assert client.act_on_queue(action) == {"asked": action}
        client.stop()
        assert daemon.stops == 1


def test_an_unknown_job_is_404_in_the_daemons_words(made: Home) -> None:
    with serving(made), pytest.raises(ControlError, match=r"^there is no job 7$") as caught:
        Client(made).act("cancel", 7)
    assert caught.value.status == 404


def test_what_a_jobs_state_forbids_is_409(made: Home) -> None:
    with serving(made), pytest.raises(ControlError, match=r"^job 1 is run by `prefd run`") as caught:
        Client(made).act("pause", 1)
    assert caught.value.status == 409


def test_a_failure_in_the_daemon_is_500_as_json(made: Home) -> None:
    with serving(made), pytest.raises(ControlError, match=r"^RuntimeError: the database is on fire$") as caught:
        Client(made).act("cancel", 13)
    assert caught.value.status == 500


def test_what_is_not_there_is_json_too(made: Home) -> None:
    with serving(made), httpx.Client(transport=httpx.HTTPTransport(uds=str(made.socket))) as http:
        for method, path, status in (
            ("GET", "/v2/x", 404),
            ("DELETE", "/v1/status", 405),
            ("POST", "/v1/jobs/x/cancel", 404),
        ):
            reply = http.request(method, f"http://prefd{path}")
            assert reply.status_code == status
            assert reply.json()["error"].startswith(f"{method} {path}: ")


def test_only_this_user_can_reach_the_socket(made: Home) -> None:
    with listening(made):
        assert stat.S_IMODE(made.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(made.run.stat().st_mode) == 0o700
    assert not made.socket.exists()


def test_a_socket_left_by_a_killed_daemon_is_replaced(made: Home) -> None:
    made.socket.write_text("stale")
    with serving(made):
        assert Client(made).status() == {"pid": 42}


def test_a_home_too_deep_for_a_socket_listens_in_a_private_folder(tmp_path: Path) -> None:
    deep = Home(tmp_path / ("d" * 60) / ("e" * 60))
    deep.create()
    with serving(deep):
        assert Client(deep).status() == {"pid": 42}
        assert not deep.socket.exists()
        (private,) = Path(tempfile.gettempdir()).glob("prefd-*/prefd.sock")
        assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    assert not private.parent.exists()


def test_no_daemon_is_said_with_the_remedy(made: Home, tmp_path: Path) -> None:
    for home in (Home(tmp_path / "nowhere"), made):
        with pytest.raises(DaemonNotRunning, match=rf"^no daemon runs on {home.root}; start one with `prefd start`$"):
            Client(home).status()
    made.socket.write_text("not a socket")
    with pytest.raises(DaemonNotRunning):
        Client(made).status()
    assert not (tmp_path / "nowhere").exists()


def test_a_daemon_that_does_not_answer_is_not_waited_for_for_ever(made: Home) -> None:
    with listening(made) as listener:
        listener.listen()
        with pytest.raises(ControlError, match=r"^the daemon did not answer within 0\.2 s$"):
            Client(made, timeout=0.2).status()
