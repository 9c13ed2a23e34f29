"""Playground is a temporary home with a daemon of its own, a random model and pairs, in which nothing of the user's is touched."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prefd.daemon.control.client import Client, DaemonNotRunning
from prefd.daemon.control.control_error import ControlError
from prefd.daemon.control.detached_start import start_detached
from prefd.daemon.errors import PrefdError
from prefd.daemon.home import lock
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.job import Job
from prefd.daemon.jobs.states import ENDED
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.machine.processes import ProcessId
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.timing import Timing
from prefd.daemon.worker_tasks.check_results import RandomModelInput, WrittenModel
from prefd.daemon.worker_tasks.inputs import WorkerInput

Ask = Callable[[str, WorkerInput, type[WrittenModel]], WrittenModel]
"""A task and its input → the answer of a worker."""

LOOK_SECONDS = 0.02
START_SECONDS = 90.0
"""For a job's worker to have trained its first steps: it imports MLX from a disk that may be cold."""
END_SECONDS = 120.0
"""For a small job to end."""
SETTLE_SECONDS = 0.2
SETTINGS = f"""stop_grace_seconds = 60
[watch]
settle_seconds = {SETTLE_SECONDS}
rescan_seconds = 120.0
"""
"""Of the playground's daemon: it looks at its folder so seldom that only events can tell it of a drop."""


class NotReached(PrefdError):
    """Raised where something that a check waits for does not come; the message says what, with the end of the daemon's log."""


class Playground:
    """Playground is a temporary home. All that it has started has ended when its `open` does."""

    def __init__(self, root: Path, timing: Timing, ask: Ask) -> None:
        self.home = Home(root / "home")
        self._root = root
        self.timing = timing
        self._ask = ask
        self._model: WrittenModel | None = None

    @classmethod
    @contextmanager
    def open(cls, timing: Timing, ask: Ask, device: str = "auto") -> Iterator[Playground]:
        """Make a playground, whose jobs compute on `device`; it is removed at the end. `ask` puts a task to a worker."""
        with tempfile.TemporaryDirectory(prefix="prefd-selftest-", ignore_cleanup_errors=True) as folder:
            playground = cls(Path(folder).resolve(), timing, ask)
            playground.home.create()
            playground.home.config.write_text(f'{SETTINGS}[worker]\ndevice = "{device}"\n')
            try:
                yield playground
            finally:
                playground.kill()

    def start(self) -> ProcessId:
        """Start the daemon, where it does not run. Raises `NotStarted`."""
        with suppress(DaemonNotRunning, ControlError):
            return self._find_process(Client(self.home).status().pid)
        return self._find_process(start_detached(self.home, self.timing))

    def stop(self) -> bool:
        """Ask the daemon to stop, and return whether it has ended within its time."""
        return Client(self.home).stop(END_SECONDS)

    def kill(self) -> None:
        """Kill the daemon and its workers at once, as a loss of power does."""
        holder = lock.find_holder(self.home)
        daemon = None if holder is None else ProcessId.find(holder.pid)
        processes = [process for process in (daemon, self.find_worker()) if process is not None]
        for process in processes:
            process.signal(signal.SIGKILL)
        end = time.monotonic() + END_SECONDS
        while any(process.is_alive() for process in processes) and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
        if holder is not None and not (socket := Path(holder.socket)).is_relative_to(self.home.root):
            socket.unlink(
                missing_ok=True
            )  # the home's path is too long for a socket, and a daemon that is killed leaves it
            with suppress(OSError):
                socket.parent.rmdir()

    def submit(self, name: str, steps: int) -> int:
        """Queue a training of `steps` steps on the random model, and return its number."""
        if self._model is None:
            self._model = self._ask("random-model", RandomModelInput(folder=str(self._root)), WrittenModel)
        training = {"iters": steps, "batch_size": 2, "learning_rate": 1e-3, "save_every": 5, "lora": {"rank": 4}}
        data = {"path": self._model.data, "validation": 0.0, "max_length": 128}
        spec = {"name": name, "model": self._model.model, "data": data, "training": training}
        return Client(self.home).submit(json.dumps(spec).encode(), name)[0].id

    def drop(self, name: str, text: str) -> None:
        """Rename a file with `text` into the watched folder."""
        beside = self._root / name
        beside.write_text(text)
        beside.rename(self.home.jobs / name)

    def read_job(self, number: int) -> Job:
        """Read a job's row."""
        with JobTable.open_readonly(self.home.database) as table:
            return table.get(number)

    def run_folder(self, number: int) -> RunDir:
        """Return a job's folder."""
        return RunDir(self.home.job(number))

    def wait_for_checkpoint(self, number: int) -> None:
        """Wait until the job has saved a checkpoint. Raises `NotReached`."""
        folder = self.run_folder(number).checkpoints
        self.wait(lambda: any(folder.glob("step-*")), START_SECONDS, f"job {number} has saved no checkpoint")

    def wait_for_end(self, number: int) -> Job:
        """Wait until the job is done. Raises `NotReached` where it fails, or goes on for too long."""
        self.wait(lambda: self.read_job(number).state in ENDED, END_SECONDS, f"job {number} has not ended")
        job = self.read_job(number)
        if job.state != "done":
            raise NotReached(f"job {number} is {job.state}: {job.reason}")
        return job

    def wait(self, holds: Callable[[], bool], seconds: float, problem: str) -> None:
        """Wait until `holds`. Raises `NotReached` with the `problem` after `seconds`."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                log = self.home.log.read_text(errors="replace").splitlines() if self.home.log.exists() else []
                raise NotReached(f"{problem} within {seconds:g} s; the daemon's log ends with: {' | '.join(log[-3:])}")
            time.sleep(LOOK_SECONDS)

    def find_worker(self) -> ProcessId | None:
        """Find the process of the running job's worker."""
        with suppress(OSError, PrefdError), JobTable.open_readonly(self.home.database) as table:
            for job in table.list():
                if (process := job.worker_process) is not None and process.is_alive():
                    return process
        return None

    def _find_process(self, pid: int) -> ProcessId:
        process = ProcessId.find(pid)
        if process is None:
            raise NotReached(f"the daemon, pid {pid}, has ended at once")
        return process
