"""Follower turns the history and metrics of jobs into a stream of events that a client can leave and take up again.

The stream has two sources, both on disk before an event is sent: the table's history, whose lines are numbered in the order
of their commits, and each run's metrics.jsonl, which only grows while a job goes on. So the id of an event is a cursor into
both, and nothing has to be remembered for a client:

    57-3.12-4.0     history up to line 57; of job 3, which is not at its end, 12 lines of metrics; of job 4 none

A client that comes back with its last id misses no change of a job and gets none twice, even if the daemon was restarted
meanwhile. The same holds for metrics as long as their job has not ended: the metrics of a job that is retried are sent from
the first line again, since its file has been cut back to a checkpoint. After a crash the lines behind the checkpoint are
computed again, to the same numbers; these are not sent again.

An id from beyond the end of history is of another database (this one was set aside, or comes from a backup): a `reset` says so, and
everything follows from the start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.event_kinds import EventData, JobEvent, MetricsEvent, RemovedEvent, ResetEvent
from prefd.daemon.jobs.states import ENDED, UNENDED
from prefd.daemon.jobs.table import Change, JobTable
from prefd.daemon.runs.metrics_tail import MetricsTail
from prefd.daemon.runs.run_folder import RunDir

MAX_ID = 16_384
CHANGES = 200


@dataclass(frozen=True)
class StreamEvent:
    """StreamEvent is one event of the stream, with the cursor behind it as its id."""

    data: EventData
    id: str


@dataclass(frozen=True)
class Cursor:
    """Cursor is the position of a client in the stream."""

    line: int = 0
    """The last line of history that was sent."""
    metrics: Mapping[int, int] = field(default_factory=dict)
    """The number of lines of metrics that were sent, by job, for jobs that have trained and not ended."""

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read the cursor in an event's id. Raises ValueError."""
        line, *parts = text.split("-")
        pairs = [part.split(".") for part in parts]
        numbers = [line, *(number for pair in pairs for number in pair)]
        well_formed = len(text) <= MAX_ID and all(len(pair) == 2 for pair in pairs)
        if not well_formed or not all(each.isascii() and each.isdecimal() and len(each) < 19 for each in numbers):
            raise ValueError(f"{text[:60]!r} is not the id of an event, such as 57 or 57-3.12")
        return cls(int(line), {int(job): int(lines) for job, lines in pairs})

    def __str__(self) -> str:
        return "-".join([str(self.line), *(f"{job}.{lines}" for job, lines in sorted(self.metrics.items()))])


def identify_database(home: Home) -> int:
    """Return a number that changes when the database is set aside and made again; 0 while there is none."""
    try:
        return os.stat(home.database).st_ino
    except OSError:
        return 0


def find_end(table: JobTable, home: Home) -> Cursor:
    """Return the cursor behind all events until now."""
    line = table.last_change()
    begun = [job for job in table.list(*UNENDED) if job.started_at is not None]
    counts = {job.id: MetricsTail(RunDir(home.job(job.id))).skip_all() for job in begun}
    return Cursor(line, {job.id: counts[job.id] for job in begun if counts[job.id] or job.state == "training"})


class Follower:
    """Reads the stream for one client, from its cursor on; with `job_id`, the events of that job alone."""

    def __init__(self, table: JobTable, home: Home, cursor: Cursor, job_id: int | None = None) -> None:
        self.table = table
        self.home = home
        self.job_id = job_id
        self.line = cursor.line
        self.tails = {
            job: self._open_tail(job, lines) for job, lines in cursor.metrics.items() if job_id in (None, job)
        }

    @property
    def cursor(self) -> Cursor:
        """Return the position behind the last event that was taken."""
        return Cursor(self.line, {job: tail.last_line for job, tail in self.tails.items()})

    def take(self) -> list[StreamEvent]:
        """Return the next events, in order and a bounded number; none where all were taken. Raises JobTableError."""
        newest = self.table.last_change()
        if self.line > newest:
            return [self._reset(newest)]
        changes = self.table.changes(self.line, CHANGES, self.job_id)
        events: list[StreamEvent] = []
        for change in changes:
            if leading := self._metrics_before(change):
                return events + leading
            events.append(self._event_of(change))
        if len(changes) < CHANGES:
            self.line = max(self.line, newest)
            events += [event for job in list(self.tails) for event in self._read_metrics(job)]
        return events

    def _metrics_before(self, change: Change) -> list[StreamEvent]:
        """Return the metrics that come before a job's end. Where the job was retried since, its next events bring them."""
        if change.job_id in self.tails and change.newest and change.state in ENDED:
            return list(self._read_metrics(change.job_id))
        return []

    def _event_of(self, change: Change) -> StreamEvent:
        self.line = change.number
        if change.state == "removed":
            self.tails.pop(change.job_id, None)
            return StreamEvent(RemovedEvent(change.job_id, change.name, change.reason, change.at), str(self.cursor))
        if change.state in ENDED:
            self.tails.pop(change.job_id, None)
        elif change.state == "training":
            self.tails.setdefault(change.job_id, self._open_tail(change.job_id))
        event = JobEvent(change.job_id, change.name, change.state, change.reason, change.at)
        return StreamEvent(event, str(self.cursor))

    def _read_metrics(self, job_id: int) -> Iterator[StreamEvent]:
        tail = self.tails[job_id]
        for line, values in tail.take():
            lines_by_job = self.cursor.metrics
            cursor = Cursor(self.line, {**lines_by_job, job_id: line})
            yield StreamEvent(MetricsEvent(job_id, line, values), str(cursor))

    def _reset(self, newest: int) -> StreamEvent:
        reason = f"history ends at {newest}, before {self.line}: this is another database; all of it follows"
        self.line, self.tails = 0, {}
        return StreamEvent(ResetEvent(reason), str(self.cursor))

    def _open_tail(self, job_id: int, lines: int = 0) -> MetricsTail:
        return MetricsTail(RunDir(self.home.job(job_id)), lines)
