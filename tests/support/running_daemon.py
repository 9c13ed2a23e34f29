"""A home with a daemon in it, in a thread or a process of its own, whose workers are stand-ins."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.control.client import Client, DaemonNotRunning
from prefd.daemon.control.control_error import ControlError
from prefd.daemon.home import lock
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, WatchConfig
from prefd.daemon.jobs.rebuild import open_table
from prefd.daemon.jobs.states import State
from prefd.daemon.jobs.table import Job, JobTable
from prefd.daemon.queue.stop_request import Stop
from prefd.daemon.service.daemon import Service
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.timing import Timing
from support import fake_worker
from support.quick_timing import QUICK_TIMING

QUICK = Config(watch=WatchConfig(settle_seconds=0.05, rescan_seconds=0.2), stop_grace_seconds=1.0)


@dataclass
class Place:
    """A home with a stand-in worker, and what a test does with it."""

    home: Home
    folder: Path
    worker: tuple[str, ...]
    timing: Timing = QUICK_TIMING
    services: list[Service] = field(default_factory=list)

    @contextmanager
    def daemon(self, config: Config = QUICK) -> Iterator[Client]:
        """A daemon in a thread, stopped (and checked to have stopped cleanly) at the end."""
        failures: list[BaseException] = []
        running: list[Service] = []
        loops: list[asyncio.AbstractEventLoop] = []

        async def serve() -> None:
            with lock.hold_lock(self.home), open_table(self.home) as table:
                running.append(Service(self.home, config, table, self.worker, timing=self.timing))
                loops.append(asyncio.get_running_loop())
                await running[0].run()

        def run() -> None:
            try:
                asyncio.run(serve())
            except BaseException as error:  # noqa: BLE001  # raised again in the test's thread
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        client = Client(self.home)
        try:
            fake_worker.wait_for(lambda: bool(failures) or answers(client))
            assert failures == [], "the daemon has not started"
            self.services += running
            yield client
        finally:
            for loop in loops:
                request_stop(loop, running[0].stop)
            thread.join(60)
        assert not thread.is_alive()
        assert failures == []
        assert lock.find_holder(self.home) is None

    def drop(self, file: str, text: str | bytes | None = None, **spec: Any) -> None:
        """Rename a file into jobs/: `text`, or a good spec."""
        beside = self.folder / f"beside-{time.monotonic_ns()}"
        text = fake_worker.spec_text(self.folder, **spec) if text is None else text
        beside.write_bytes(text if isinstance(text, bytes) else text.encode())
        beside.rename(self.home.jobs / file)

    def spec(self, name: str = "ok", **more: Any) -> JobSpec:
        """A good spec, as a table has it."""
        return JobSpec.model_validate_json(fake_worker.spec_text(self.folder, name, **more))

    def jobs(self, *states: State) -> list[Job]:
        with JobTable.open_readonly(self.home.database) as table:
            return table.list(*states)

    def wait_for(self, *states: State) -> list[Job]:
        """The jobs, once they are in exactly these states (oldest first)."""
        fake_worker.wait_for(lambda: [job.state for job in self.jobs()] == list(states), 60)
        return self.jobs()

    def rejected(self) -> dict[str, str]:
        """What each rejected file's error says, without this test's paths."""
        return {
            path.name.removesuffix(".error.txt"): path.read_text().strip().replace(str(self.folder), "F")
            for path in self.home.rejected.glob("*.error.txt")
        }

    def log(self, job_id: int) -> str:
        path = self.home.job(job_id) / "worker.log"
        return path.read_text() if path.exists() else ""


def request_stop(loop: asyncio.AbstractEventLoop, stop: Stop) -> None:
    """Request the stop of a daemon whose loop runs in another thread."""
    with suppress(RuntimeError):  # the loop is closed: the daemon has stopped already
        loop.call_soon_threadsafe(stop.request)


def answers(client: Client) -> bool:
    try:
        client.status()
    except (DaemonNotRunning, ControlError):  # a busy machine's daemon may take longer than a client waits
        return False
    return True


SERVE = (
    "import json, sys; from pathlib import Path; from prefd.daemon.home.layout import Home\n"
    "from prefd.daemon.service.daemon import serve; serve(Home(Path(sys.argv[1])), json.loads(sys.argv[2]))"
)
"""A program: the daemon of the home that is its first argument, with the worker's command, as JSON, that is its second."""


@contextmanager
def process(place: Place, settings: str = "") -> Iterator[subprocess.Popen[str]]:
    """The daemon of `place` as a process with these further settings, killed at the end."""
    place.home.config.write_text(f"stop_grace_seconds = 5\n[watch]\nsettle_seconds = 0.05\n{settings}")
    command = [sys.executable, "-c", SERVE, str(place.home.root), json.dumps(place.worker)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        try:
            fake_worker.wait_for(lambda: answers(Client(place.home)), 90)
            yield child
        finally:
            child.kill()


def fail_first(
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    errors: list[Exception],
    when: Callable[..., bool] = lambda *_: True,
) -> None:
    """Let calls of `owner.name` whose arguments are as `when` says raise `errors`, the first first, and then work."""
    real = getattr(owner, name)

    def call(*arguments: Any, **more: Any) -> Any:
        if errors and when(*arguments):
            raise errors.pop(0)
        return real(*arguments, **more)

    monkeypatch.setattr(owner, name, call)
