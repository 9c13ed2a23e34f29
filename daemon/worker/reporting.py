"""Reports one job to one tool: follows metrics.jsonl to the job's end, and hands each row to the reporter once.

It is a process of its own. So nothing that a tool does, be it slow, hanging or failing, reaches the process that trains, nor the
daemon, nor another tool. It can begin late and again: what the tool has already is known from the tool, or from the report's state.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import BinaryIO, TypeVar

from prefd.daemon.errors import PrefdError
from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.metrics_tail import MetricsTail
from prefd.daemon.runs.report_files import ReportFiles, ReportState
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.run_identity import read_frozen_identity
from prefd.daemon.runs.snapshot import read_frozen_spec
from prefd.daemon.worker_tasks.reports import JobEnd, Reported, ReportInput
from prefd.plugins.errors import describe_exception
from prefd.plugins.manager import load_plugins
from prefd.plugins.registered_reporter import RegisteredReporter
from prefd.plugins.reporting import LastSteps, MetricsRow, Report, ReportedRun, RunEnd, find_last_steps

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks at metrics.jsonl."""
TITLE_LETTERS = 6
"""So many of the id are in a run's title: of a ULID they are random."""
T = TypeVar("T")


class ReportFailed(PrefdError):
    """ReportFailed is raised where a job cannot be reported to a tool. The message says why."""


@dataclass
class WatchedCalls:
    """WatchedCalls watches that each call of a reporter returns: one that hangs cannot be interrupted, so its process ends."""

    reporter: str
    seconds: float
    give_up: Callable[[str], None]
    _name: str = ""
    _began: float = field(default_factory=time.monotonic)

    def watch(self) -> None:
        """Watch from now on, in a thread."""
        threading.Thread(target=self._look, name="reporter-watch", daemon=True).start()

    def _look(self) -> None:
        while True:
            time.sleep(min(1.0, self.seconds / 4))
            if self._name and time.monotonic() - self._began > self.seconds:
                self.give_up(f"{self._name} of the reporter {self.reporter} has not returned for {self.seconds:g} s")
                return

    @contextmanager
    def named(self, name: str) -> Iterator[None]:
        """Say what is called within the block. Raises `ReportFailed` for whatever a stranger's code raises there."""
        self._began, self._name = time.monotonic(), name
        try:
            yield
        except BaseException as error:
            log.exception("%s", name)
            message = describe_exception(error)
            raise ReportFailed(f"{name} of the reporter {self.reporter} raised {message}") from error
        finally:
            self._name = ""


class EndOfJob:
    """EndOfJob says whether the job has ended, and how; None where it goes on later."""

    def __init__(self) -> None:
        self.is_there = threading.Event()
        self.end: RunEnd | None = None

    def note(self, end: JobEnd) -> None:
        """Note that the job has ended."""
        self.end = RunEnd(end.state, end.reason)
        self.is_there.set()

    def listen(self, messages: BinaryIO) -> None:
        """Wait for the end of the job, or of the messages."""
        try:
            if line := messages.readline():
                self.note(JobEnd.model_validate_json(line))
        finally:
            self.is_there.set()


@dataclass
class MetricsFollower:
    """MetricsFollower hands the rows of a job to an open report, and notes how far it is."""

    files: ReportFiles
    report: Report
    state: ReportState
    last: LastSteps
    calls: WatchedCalls

    def follow(self, end: EndOfJob) -> ReportState:
        """Hand over every row until the job has ended, and then its end. Raises `ReportFailed`, OSError."""
        tail = MetricsTail(self.files.run)
        while True:
            is_last = end.is_there.is_set()  # before the look: every row is written before the end is told
            while rows := [row for _, line in tail.take() if (row := MetricsRow.read(line)) is not None]:
                self._log(rows)
            if is_last:
                return self._close(end.end)
            end.is_there.wait(LOOK_SECONDS)

    def _log(self, rows: list[MetricsRow]) -> None:
        new = 0
        for row in rows:
            if self.last.have(row):
                continue
            with self.calls.named("log"):
                self.report.log(row)
            self.last = self.last.after(row)
            new += 1
        if new:
            self._note(rows=self.state.rows + new)

    def _close(self, end: RunEnd | None) -> ReportState:
        with self.calls.named("close"):
            self.report.close(end)
        return self._note(state="left open" if end is None else end.state)

    def _note(self, **changes: object) -> ReportState:
        steps = {"train": self.last.train, "held_out": self.last.held_out}
        self.state = replace(self.state, **steps, **changes)  # type: ignore[arg-type]
        self.files.write(self.state)
        return self.state


def report(home: Home, request: ReportInput, messages: BinaryIO) -> Reported:
    """Report a job until `messages` ends, or a line of it says how the job has ended. Raises `ReportFailed`, OSError."""
    folder = home.job(request.job)
    identity = read_frozen_identity(folder)
    files = ReportFiles(RunDir(folder, identity.job if identity else ""), request.to)
    files.folder.mkdir(parents=True, exist_ok=True)
    with _lock(files):
        before = files.read() or ReportState(request.to, files.run.job)
        state = replace(before, state="open", error="")
        try:
            state = _follow(files, state, find_reporter(home, request.to), request, messages)
        except ReportFailed as failed:
            files.write(replace(files.read() or state, error=str(failed)))
            raise
    return Reported(rows=state.rows, place=state.place)


def find_reporter(home: Home, name: str) -> RegisteredReporter:
    """Find a reporter by its name. Raises `ReportFailed` where no plugin brings it, or what it needs is not installed."""
    settings = HandedSettings.read(home)
    plugins = load_plugins(settings.plugin_files, settings.excluded)
    registered = plugins.reporters.get(name)
    if registered is None:
        raise ReportFailed(f"no reporter is called {name!r}; known: {', '.join(sorted(plugins.reporters))}")
    if (missing := registered.find_missing()) is not None:
        raise ReportFailed(f"{name}: {missing}")
    return registered


def _follow(
    files: ReportFiles, state: ReportState, registered: RegisteredReporter, request: ReportInput, messages: BinaryIO
) -> ReportState:
    def give_up(reason: str) -> None:
        files.write(replace(files.read() or state, error=reason))
        log.error("%s", reason)
        os._exit(1)

    call = WatchedCalls(request.to, request.call_seconds, give_up)
    call.watch()
    run = describe_run(files, LastSteps(state.train, state.held_out), request.project)
    with call.named("open"):
        opened = registered.reporter.open(run)
        last = find_last_steps(opened) or run.last
        place = str(getattr(opened, "place", ""))
    state = replace(state, place=place, train=last.train, held_out=last.held_out)
    files.write(state)
    end = EndOfJob()
    if request.end is not None:
        end.note(request.end)
    else:
        threading.Thread(target=end.listen, args=(messages,), name="end-of-job", daemon=True).start()
    return MetricsFollower(files, opened, state, last, call).follow(end)


def describe_run(files: ReportFiles, last: LastSteps, project: str) -> ReportedRun:
    """Describe the job as a reporter is told of it."""
    spec, run_id = read_frozen_spec(files.run), files.make_run_id()
    return ReportedRun(
        id=run_id,
        title=f"{spec.name}-{run_id[max(len(files.run.job) - TITLE_LETTERS, 0) :]}",
        name=spec.name,
        group=spec.group,
        project=project,
        spec=spec.model_dump(mode="json"),
        folder=files.folder,
        last=last,
    )


@contextmanager
def _lock(files: ReportFiles) -> Iterator[None]:
    """Hold the report's lock: two processes would log the same rows. Raises `ReportFailed` where another has it."""
    with files.lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ReportFailed(
                f"another process reports this job to {files.to} already; ask again when it has ended"
            ) from None
        yield
