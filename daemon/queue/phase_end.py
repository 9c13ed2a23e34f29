"""`EndedWorker` holds what is known of a worker that has ended, and judges how its phase ended, in words.

A worker that can say how it went leaves an outcome in the job's folder. Of any other, the way the process ended, its memory
and its log decide.
"""

from __future__ import annotations

import re
import shlex
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prefd.daemon.errors import WorkerExit
from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.jobs.states import ENDED
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.machine.device_trouble import has_device_trouble
from prefd.daemon.queue.memory_watch import SWAPPED, MemoryWatch
from prefd.daemon.queue.outage import list_hub_names
from prefd.daemon.queue.worker_process import describe_end
from prefd.daemon.runs.phase_outcomes import Outcome
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.worker_log import read_last_words, read_tail
from prefd.daemon.specs.memory_advice import suggest_savings
from prefd.daemon.text.sizes import format_size

STOPPED_OUTSIDE = "its worker was stopped from outside; it goes on from where it stood"
STOPS_OUTSIDE = 3
"""How often a job may be stopped by neither the daemon nor a user before it counts as failed."""
DEATH_HERE = re.compile(r"rank \d+ \(pid \d+\) died of (\w+)$")
"""How the last line of a worker ends that has lost another rank of this machine by a signal."""

EndKind = Literal[
    "ok",
    "failed",
    "stopped",
    "crashed",
    "no worker",
    "not ready",
    "no device",
    "no network",
    "no file",
    "no room",
    "no memory",
    "device trouble",
]


@dataclass(frozen=True)
class PhaseEnd:
    """PhaseEnd says how the worker of a phase ended, and after how many seconds."""

    kind: EndKind
    reason: str
    """In words; empty where the worker stopped because this process requested it."""
    seconds: float = 0.0


@dataclass(frozen=True)
class EndedWorker:
    """EndedWorker holds what is known of a worker of the job `job_id` that has ended."""

    table: JobTable
    job_id: int
    stop_requested: bool
    """Whether this process had told it to stop because its job is to run no further."""
    outcome: Outcome | None
    returncode: int
    memory: MemoryWatch
    limits: WorkerLimits
    log: Path
    since: int
    """Where in the log its own lines begin, in bytes."""
    config: Path
    """The file that sets `limits`."""

    def judge(self) -> tuple[EndKind, str]:
        """Decide how the worker ended and why, in words, from its outcome, its memory, its exit code and its log."""
        outcome, log, since = self.outcome, self.log, self.since
        if outcome is not None and outcome.ok:
            return "ok", outcome.describe()
        if not self.stop_requested and (end := self._judge_missing()) is not None:
            return end
        if outcome is not None and not (self.stop_requested and self.table.get(self.job_id).cancel_requested):
            return "failed", outcome.reason
        if self.stop_requested:
            return "stopped", ""
        if self.memory.must_stop:
            return "no memory", self._advise_smaller(self._describe_excess())
        if self.returncode == WorkerExit.STOPPED:
            return self._judge_stop_from_outside()
        if self.returncode == WorkerExit.NO_ROOM:
            return "no room", f"the disk takes no more; it goes on when there is room: {read_last_words(log, since)}"
        is_silent = self.returncode not in (
            0,
            WorkerExit.NO_MEMORY,
        )  # else the worker itself has said that it was no trouble
        if self.returncode == WorkerExit.DEVICE_TROUBLE or (
            is_silent and has_device_trouble(read_tail(log, since=since))
        ):
            return "device trouble", f"the GPU failed, which passes by itself: {read_last_words(log, since)}"
        if (cause := self.memory.verdict(self.returncode, read_tail(log, since=since))) is not None:
            return "no memory", self._advise_smaller(cause)
        return "crashed", describe_end(self.returncode, log, since)

    def _judge_missing(self) -> tuple[EndKind, str] | None:
        """Return the end of a worker that lacked something that is not the job's; None of any other."""
        last_line = read_last_words(self.log, self.since)
        if self.returncode == WorkerExit.LOST_RANK:
            return self._judge_lost_rank(last_line)
        if self.returncode == WorkerExit.NO_NETWORK:
            names = list_hub_names(self.table.spec(self.job_id))
            return "no network", f"{'the hub cannot be reached' if names else 'no answer'}: {last_line}"
        if self.returncode == WorkerExit.NO_FILE:
            return "no file", last_line
        if self.returncode == WorkerExit.NO_DEVICE:
            return "no device", last_line
        if self.returncode == WorkerExit.NOT_READY:
            reason = last_line if self.outcome is None else self.outcome.reason
            return "not ready", f"something that is installed cannot be imported: {reason}"
        return None

    def _judge_lost_rank(self, last_line: str) -> tuple[EndKind, str]:
        """Tell whether it was for want of memory that another rank was lost."""
        death = DEATH_HERE.search(last_line)
        if death is None:
            return "crashed", last_line
        number = signal.SIGKILL if death.group(1) == signal.SIGKILL.name else signal.SIGABRT
        cause = self.memory.verdict(-number, read_tail(self.log, since=self.since))
        return ("crashed", last_line) if cause is None else ("no memory", self._advise_smaller(f"{last_line}: {cause}"))

    def _describe_excess(self) -> str:
        """Say of how much memory a worker was stopped that took too much."""
        held = format_size(self.memory.peak)
        if self.memory.over:
            taker = "its ranks here" if self.memory.has_ranks else "its worker"
            return f"{taker} took {held}, and worker.memory allows {self.limits.memory}"
        swap = (
            f" (it had swapped out {format_size(self.memory.swapped)} since)" if self.memory.swapped > SWAPPED else ""
        )
        return f"this Mac was short of memory{swap}, most of which its worker held ({held}): it was stopped before macOS would end it"

    def _advise_smaller(self, message: str) -> str:
        """Add to the cause of an end for want of memory what helps, and the log's end."""
        larger_limit = f"; or a larger worker.memory in {self.config}" if self.limits.memory else ""
        run = RunDir(self.log.parent)
        if run.is_writing_outputs():
            message = (
                f"while the outputs were written, {message}. What was trained is whole in {run.adapter}, and smaller batches "
                "would not help: take output.fuse out of the spec, and fuse where there is more memory, by "
                f"`mlx_lm.fuse --adapter-path {shlex.quote(str(run.adapter))}`{larger_limit}"
            )
        else:
            ways = suggest_savings(self.table.spec(self.job_id).training)
            message = f"{message}. Make the job smaller and submit it again: {ways}{larger_limit}"
        last = read_tail(self.log, since=self.since)
        return f"{message}\nits log ends:\n{last}" if last else message

    def _judge_stop_from_outside(self) -> tuple[EndKind, str]:
        """Put a job back whose worker another program stopped, unless that has happened too often."""
        before = 0
        for event in self.table.history(self.job_id):
            before = 0 if event.state in ENDED else before + (event.reason == STOPPED_OUTSIDE)
        if before + 1 >= STOPS_OUTSIDE:
            return "failed", f"its worker was stopped from outside {before + 1} times"
        return "stopped", STOPPED_OUTSIDE
