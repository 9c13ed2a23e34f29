"""A daemon under systemd's eyes: ready when it answers, alive only while every loop is."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.control.client import Client
from prefd.daemon.home import lock
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, WatchConfig
from prefd.daemon.inbox.intake import Intake
from prefd.daemon.jobs.job import Job
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.queue.runner import Runner
from prefd.daemon.service.daemon import Service
from prefd.daemon.service.systemd import ServiceManager
from prefd.daemon.service.watchdog import Pulse
from support import fake_worker
from support.quick_timing import QUICK_TIMING
from support.running_daemon import request_stop
from support.sockets import find_socket, short_folder

QUICK = Config(watch=WatchConfig(settle_seconds=0.05, rescan_seconds=0.1), stop_grace_seconds=0)
WATCHDOG_SECONDS = 0.2


class Manager:
    """systemd's side: what it was told, and when it was last told that the daemon lives."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.messages: list[str] = []

    def hear(self) -> list[str]:
        """All that was said by now."""
        while True:
            try:
                self.messages += self.socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.messages

    def pings_within(self, seconds: float) -> int:
        self.hear()
        before = self.messages.count("WATCHDOG=1")
        time.sleep(seconds)
        return self.hear().count("WATCHDOG=1") - before


@pytest.fixture
def manager() -> Iterator[Manager]:
    with short_folder() as folder:
        service_manager = Manager(folder / "notify")
        yield service_manager
        service_manager.socket.close()


@contextmanager
def daemon(home: Home, folder: Path, manager: Manager) -> Iterator[Client]:
    home.create()
    worker = fake_worker.make_worker(folder)
    running: list[Service] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        notifier = ServiceManager(manager.socket.getsockname(), WATCHDOG_SECONDS)
        with lock.hold_lock(home), JobTable.open(home.database) as table:
            running.append(Service(home, QUICK, table, worker, notifier, replace(QUICK_TIMING, loop_step=0.5)))
            await running[0].run()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        fake_worker.wait_for(lambda: "READY=1" in manager.hear())
        yield Client(home)
    finally:
        request_stop(loops[0], running[0].stop)
        thread.join(20)
    assert not thread.is_alive()


def test_a_loop_is_silent_once_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    heart = Pulse()
    heart.beat("folder", 10)
    heart.beat("queue", 30)
    assert heart.silent() == []
    now = 111
    assert heart.silent() == ["folder"]
    heart.beat("folder", 5)
    assert heart.silent() == []
    now = 1000
    assert heart.silent() == ["folder", "queue"]
    heart.end("folder")
    assert heart.silent() == ["queue"]


def test_ready_is_told_once_the_socket_answers_then_status_pings_and_the_stop(
    home: Path, tmp_path: Path, manager: Manager
) -> None:
    with daemon(Home(home), tmp_path, manager) as client:
        messages = manager.hear()
        assert messages[messages.index("READY=1") + 1] == "STATUS=no jobs yet"
        assert client.status().stopping is False
        fake_worker.wait_for(lambda: manager.pings_within(0.25) >= 2)
        (Home(home).jobs / "a.json").write_text(fake_worker.spec_text(tmp_path, "sleep"))
        fake_worker.wait_for(lambda: any(line.startswith("STATUS=1 ") for line in manager.hear()))
        client.stop(wait_seconds=10)
    messages = manager.hear()
    assert messages.count("READY=1") == 1
    assert messages[messages.index("STOPPING=1") + 1] == "EXTEND_TIMEOUT_USEC=30000000"


@pytest.mark.parametrize("hung", ["folder", "queue", "socket"])
def test_a_hung_loop_is_not_said_to_be_alive(
    home: Path,
    tmp_path: Path,
    manager: Manager,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    hung: str,
) -> None:
    """It waits for what never comes, while the event loop and all else go on."""
    released = threading.Event()

    async def hang(*_: Any) -> Any:
        while not released.is_set():
            await asyncio.sleep(0.02)

    def hanging(then: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def replaced(*arguments: Any) -> Any:
            await hang()
            return await then(*arguments)

        return replaced

    with daemon(Home(home), tmp_path, manager):
        fake_worker.wait_for(lambda: manager.pings_within(0.25) >= 2)
        try:
            if hung == "folder":
                monkeypatch.setattr(Intake, "_take_in", hanging(Intake._take_in))
            elif hung == "queue":
                monkeypatch.setattr(Runner, "_recover", hanging(Runner._recover))
            else:
                there = Path(find_socket(Home(home)))
                there.rename(there.with_name("away"))
            fake_worker.wait_for(lambda: "no sign of life" in caplog.text)
            assert manager.pings_within(0.4) == 0
        finally:
            released.set()
            if hung == "socket":
                there.with_name("away").rename(there)
        fake_worker.wait_for(lambda: manager.pings_within(0.25) >= 2)


def test_no_ping_comes_while_the_event_loop_is_blocked(
    home: Path, tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, released = threading.Event(), threading.Event()

    def block(self: Runner, jobs: list[Job]) -> list[Job]:
        stuck.set()
        released.wait(20)
        return []

    with daemon(Home(home), tmp_path, manager):
        monkeypatch.setattr(Runner, "_take_turns", block)
        try:
            assert stuck.wait(60)
            assert manager.pings_within(0.4) == 0
        finally:
            monkeypatch.undo()
            released.set()
