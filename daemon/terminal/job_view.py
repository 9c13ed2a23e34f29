"""JobView shows a job as it runs: a live block on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.details import list_outputs
from prefd.daemon.jobs.states import PHASE_OF
from prefd.daemon.jobs.table import Job
from prefd.daemon.runs.phase_outcomes import Outcome
from prefd.daemon.runs.run_folder import Progress, RunDir
from prefd.daemon.terminal import render, report
from prefd.daemon.terminal.preview import data_facts
from prefd.daemon.terminal.waiting import describe_waiting
from prefd.daemon.text.times import format_duration
from prefd.daemon.text.wording import format_number
from prefd.daemon.timing import USUAL, Timing
from prefd.plugins.metrics import LABELS

LABEL = 14  # columns for the phase's name


class JobView(Protocol):
    """JobView is a context manager that is updated about a job until it has ended."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def update(self, job: Job, progress: Progress | None) -> None:
        """Shows the job as it is now."""
        ...


def make_job_view(home: Home, console: Console, timing: Timing = USUAL) -> JobView:
    """Makes the view that fits the console."""
    return TerminalView(home, console) if console.is_terminal else PlainView(home, console, timing.progress_line)


class Milestones:
    """Milestones prints the lines that stay: each phase as it ends, and how the job ended."""

    def __init__(self, home: Home, console: Console) -> None:
        self.home = home
        self.console = console
        self.state = ""
        self.are_rows_printed = False

    def update(self, job: Job) -> bool:
        """Prints what a change of state has to say; returns whether there was one."""
        if job.state == self.state:
            return False
        phase = PHASE_OF.get(self.state)
        run = RunDir(self.home.job(job.id))
        if not self.state:
            self.console.print(Text.assemble((f"job {job.id}", "bold"), f"  {job.name}"))
        elif phase is not None and ((outcome := run.outcome(phase)) is None or outcome.ok):
            self._tell_rows(outcome)
            line = report.phase_line(phase, outcome, job.phase_seconds.get(phase))
            self.console.print(f"{phase:<{LABEL}}{line or 'stopped'}")
        self.state = job.state
        return True

    def _tell_rows(self, outcome: Outcome | None) -> None:
        """Prints what became of the rows, as the first phase that has read them reports it, and which pairs to doubt."""
        data = None if outcome is None or self.are_rows_printed else outcome.summary.data
        for name, line in () if data is None else data_facts("rows", data):
            self.console.print(Text.assemble(f"{name:<{LABEL}}", line), soft_wrap=True)
            self.are_rows_printed = True
        if outcome is not None:
            for name, line in report.xray_facts(outcome.summary.xray):
                self.console.print(Text.assemble(f"{name:<{LABEL}}", line), soft_wrap=True)

    def end(self, job: Job) -> None:
        """Prints why the job ended and where its outputs are."""
        first, *other_lines = job.reason.splitlines() or [""]
        self.console.print(Text.assemble(render.color_state(job.state), f": {first}" if first else ""))
        for line in other_lines:
            self.console.print(f"  {line}")
        for name, path in list_outputs(job, RunDir(self.home.job(job.id))).items():
            self.console.print(f"{name:<{LABEL}}{path}", soft_wrap=True)


class PlainView:
    """PlainView prints a line when something changes, and a line of progress each `seconds`."""

    def __init__(self, home: Home, console: Console, seconds: float) -> None:
        self.console = console
        self.seconds = seconds
        self.milestones = Milestones(home, console)
        self.next_line = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, job: Job, progress: Progress | None) -> None:
        """Prints what has changed, or progress where it is time."""
        if self.milestones.update(job):
            self.next_line = 0.0
            if job.ended:
                self.milestones.end(job)
                return
            if job.state not in PHASE_OF:
                reason = describe_waiting(job) or job.reason
                self.console.print(job.state + (f": {reason}" if reason else ""))
        if progress is None or progress.phase != PHASE_OF.get(job.state):
            return
        if time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + self.seconds
            count = f"{progress.phase:<{LABEL}}{progress.describe_count()}"
            parts = [count, describe_pace(progress), describe_metrics(progress), progress.note]
            self.console.print("  ".join(filter(None, parts)))


class TerminalView:
    """TerminalView redraws one block in place: the phase, its bar, its pace, and the newest metrics."""

    def __init__(self, home: Home, console: Console) -> None:
        self.milestones = Milestones(home, console)
        self.live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.__exit__(kind, error, trace)

    def update(self, job: Job, progress: Progress | None) -> None:
        """Redraws the block."""
        changed = self.milestones.update(job)
        self.live.update(Text("") if job.ended else draw_block(job, progress))
        if changed and job.ended:
            self.milestones.end(job)


def draw_block(job: Job, progress: Progress | None) -> Group | Text:
    """Draws the block that is redrawn: the phase, its bar, its pace and its metrics."""
    if progress is None or progress.phase != PHASE_OF.get(job.state):
        first = ((describe_waiting(job) or job.reason).splitlines() or [""])[0]
        detail = "starting" if job.state in PHASE_OF else first
        return Text.assemble(render.color_state(f"{job.state:<{LABEL}}"), detail)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, width=LABEL - 2)
    grid.add_column(width=26)
    grid.add_column(no_wrap=True)
    bar = ProgressBar(total=progress.total, completed=progress.done, width=26) if progress.total else ""
    share = f"  {progress.done / progress.total:.0%}" if progress.total else ""
    grid.add_row(render.color_state(job.state), bar, f"{progress.describe_count()}{share}")
    lines = [text for text in (describe_metrics(progress), describe_pace(progress), progress.note) if text]
    return Group(grid, *[Text(" " * LABEL + line) for line in lines])


def describe_pace(progress: Progress) -> str:
    """Describes the rate and the time to go."""
    parts = []
    if progress.rate:
        parts.append(f"{progress.rate:.3g} {progress.unit}/s")
    if progress.eta_s is not None:
        elapsed = max(0.0, time.time() - progress.updated_at) if progress.updated_at else 0.0
        parts.append(f"ETA {format_duration(max(0.0, progress.eta_s - elapsed))}")
    return "  ".join(parts)


def describe_metrics(progress: Progress) -> str:
    """Lists loss, accuracy and margin, where the phase has them."""
    values = {name: progress.metrics.get(key) for key, name in LABELS.items()}
    return "  ".join(f"{name} {format_number(value)}" for name, value in values.items() if value is not None)
