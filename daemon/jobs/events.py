"""What happens to jobs, as a stream that can be left and taken up again.

Two sources, both on disk before anyone is told: the table's history, whose lines are numbered in the order of their commits,
and each run's metrics.jsonl, which only grows while a job goes on. So an id says how far both have been told, and nothing
has to be remembered for a client:

    57-3.12-4.0     history up to line 57; of job 3, which is not at its end, 12 lines of metrics; of job 4 none

A client that comes back with the last id it has seen misses no change of a job and is told none twice, whoever restarted
meanwhile. Metrics likewise, as long as their job has not ended: one that is retried tells its lines from the first again,
since its file has been cut back to a checkpoint. After a crash the lines behind the checkpoint are computed again, to the
same numbers; these are not told again.

An id from beyond the end of history is of another database (this one was set aside, or comes from a backup): a `reset` says so, and
everything follows from the start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import ENDED, UNENDED
from prefd.daemon.jobs.table import Change, JobTable
from prefd.daemon.runs.metrics_tail import MetricsTail
from prefd.daemon.runs.run_folder import RunDir

MAX_ID = 16_384
CHANGES = 200

Kind = Literal["job", "metrics", "progress", "reset"]


@dataclass(frozen=True)
class Told:
    """One event. `id`: where to go on behind it; None for those that are only worth their moment."""

    kind: Kind
    data: Mapping[str, Any]
    id: str | None = None


@dataclass(frozen=True)
class Cursor:
    """How far a client has been told."""

    line: int = 0
    """Of history."""
    metrics: Mapping[int, int] = field(default_factory=dict)
    """Lines of metrics, of each job that has trained and not ended."""

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The cursor that an id is. Raises ValueError."""
        first, *rest = text.split("-")
        pairs = [part.split(".") for part in rest]
        numbers = [first, *(number for pair in pairs for number in pair)]
        well_formed = len(text) <= MAX_ID and all(len(pair) == 2 for pair in pairs)
        if not well_formed or not all(each.isascii() and each.isdecimal() and len(each) < 19 for each in numbers):
            raise ValueError(f"{text[:60]!r} is not the id of an event, such as 57 or 57-3.12")
        return cls(int(first), {int(job): int(lines) for job, lines in pairs})

    def __str__(self) -> str:
        return "-".join([str(self.line), *(f"{job}.{lines}" for job, lines in sorted(self.metrics.items()))])


def database_of(home: Home) -> int:
    """Which file the database is: another number when it was set aside and made again. 0 while there is none."""
    try:
        return os.stat(home.database).st_ino
    except OSError:
        return 0


def end_of(table: JobTable, home: Home) -> Cursor:
    """Behind all that has happened until now."""
    line = table.last_change()
    begun = [job for job in table.list(*UNENDED) if job.started_at is not None]
    counts = {job.id: MetricsTail(RunDir(home.job(job.id))).skip_all() for job in begun}
    return Cursor(line, {job.id: counts[job.id] for job in begun if counts[job.id] or job.state == "training"})


class Follower:
    """One client's place in the stream."""

    def __init__(self, table: JobTable, home: Home, cursor: Cursor, job_id: int | None = None) -> None:
        self.table = table
        self.home = home
        self.job_id = job_id
        self.line = cursor.line
        self.tails = {job: self._tail(job, lines) for job, lines in cursor.metrics.items() if job_id in (None, job)}

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.line, {job: tail.told for job, tail in self.tails.items()})

    def take(self) -> list[Told]:
        """What comes next, in order, a bounded piece of it; nothing where all has been told. Raises JobTableError."""
        newest = self.table.last_change()
        if self.line > newest:
            return [self._reset(newest)]
        changes = self.table.changes(self.line, CHANGES, self.job_id)
        told: list[Told] = []
        for change in changes:
            if leading := self._leading_to(change):
                return told + leading
            told.append(self._change(change))
        if len(changes) < CHANGES:
            self.line = max(self.line, newest)
            told += [event for job in list(self.tails) for event in self._metrics(job)]
        return told

    def _leading_to(self, change: Change) -> list[Told]:
        """The metrics that an end comes behind. Where more has happened to the job since, they come with that."""
        if change.job_id in self.tails and change.newest and change.state in ENDED:
            return list(self._metrics(change.job_id))
        return []

    def _change(self, change: Change) -> Told:
        self.line = change.number
        if change.state in ENDED:
            self.tails.pop(change.job_id, None)
        elif change.state == "training":
            self.tails.setdefault(change.job_id, self._tail(change.job_id))
        data = {"job": change.job_id, "name": change.name, "state": change.state, "reason": change.reason}
        return Told("job", data | {"at": change.at}, str(self.cursor))

    def _metrics(self, job_id: int) -> Iterator[Told]:
        tail = self.tails[job_id]
        for line, values in tail.take():
            others = self.cursor.metrics
            place = Cursor(self.line, {**others, job_id: line})
            yield Told("metrics", {"job": job_id, "line": line, "values": values}, str(place))

    def _reset(self, newest: int) -> Told:
        said = f"history ends at {newest}, before {self.line}: this is another database; all of it follows"
        self.line, self.tails = 0, {}
        return Told("reset", {"reason": said}, str(self.cursor))

    def _tail(self, job_id: int, lines: int = 0) -> MetricsTail:
        return MetricsTail(RunDir(self.home.job(job_id)), lines)
