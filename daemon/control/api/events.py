"""Serves `GET /v1/events`: what happens to jobs, as server-sent events.

Each client has its own place (events.Follower) and reads on from the disk when it has sent what it had: a slow one holds
nothing but that place, and a stalled one loses its connection. One look at table and runs, four times a second while anyone
listens, wakes all of them. Starlette's streaming response is all that this needs of a library.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from prefd.daemon.control.api.endpoint import Controlled, Endpoint, Query, Refusal, read_query
from prefd.daemon.home.layout import Home
from prefd.daemon.home.lock import find_holder
from prefd.daemon.jobs.event_kinds import KINDS, DaemonEvent, EventData, ProgressEvent, QueueEvent
from prefd.daemon.jobs.events import MAX_ID, Cursor, Follower, StreamEvent, find_end, identify_database
from prefd.daemon.jobs.states import RUNNING, State
from prefd.daemon.jobs.table import JobTable, JobTableError
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.text.json_output import dump_compact
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)

MAX_STREAMS = 50
"""Half of the connections: there is always room for a command."""
RETRY_MS = 1000
"""How long a client waits before it comes back."""

DESCRIPTION = f"""Server-sent events, each with a JSON object: {", ".join(f"`{kind}` ({each.__name__})" for kind, each in KINDS.items())}.
Without `after` or Last-Event-ID it begins now; with the last id seen, behind it; with 0, at the first job. A comment comes
every 15 seconds, and the stream ends with the daemon."""


Moment = tuple[float, str]
"""When a job's progress was written, and what is noted beside it: another one is another progress."""


class EventsQuery(Query):
    """EventsQuery holds the parameters of `GET /v1/events`."""

    after: str | None = Field(None, max_length=MAX_ID)
    """The last id seen; the header Last-Event-ID, which a browser sends by itself, goes before it."""
    job: int | None = Field(None, ge=1, le=2**63 - 1)
    """Only this job's events."""


class Hub:
    """Hub tells every stream that there may be something new. It looks only while there are streams."""

    def __init__(self, home: Home, timing: Timing = USUAL) -> None:
        self.home = home
        self.timing = timing
        self.streams = 0
        self.closed = False
        self.progress: dict[int, tuple[Moment, bytes]] = {}
        """Of each running job: when it was written, and its event."""
        self.standing: dict[str, bytes] = {}
        """The events that say how things stand, of which each client is told the newest, by their kind."""
        self._counts: dict[State, int] = {}
        self._counted_at = -1
        """The line of history at which the jobs were counted."""
        self._wake = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._seen: object = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Counts a stream for as long as it lives, and looks for news while there is one."""
        self.streams += 1
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())
        try:
            yield
        finally:
            self.streams -= 1
            if not self.streams and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    def close(self) -> None:
        """Makes every stream send what is left and end."""
        self.closed = True
        self._notify()

    def news(self) -> asyncio.Event:
        """Returns the event that is set when there may be something new; take it before looking."""
        return self._wake

    def _notify(self) -> None:
        self._wake.set()
        self._wake = asyncio.Event()

    async def _look(self) -> None:
        while True:
            with suppress(JobTableError):  # a stream that needs it meets the same, and says so
                await self._look_at(identify_database(self.home))
            self._notify()
            await asyncio.sleep(self.timing.events_look)

    async def _look_at(self, database: int) -> None:
        """Looks for news for as long as `database` is the home's."""
        with JobTable.open_readonly(self.home.database) as table:
            while identify_database(self.home) == database:
                if (state := self._state(table)) != self._seen:
                    self._seen = state
                    self._notify()
                await asyncio.sleep(self.timing.events_look)

    def _state(self, table: JobTable) -> object:
        """Returns a value that changes when an event may have happened."""
        runs = {job.id: RunDir(self.home.job(job.id)) for job in table.list(*RUNNING)}
        self.progress = {
            job_id: ((progress.updated_at, progress.note), _format_event(ProgressEvent(job=job_id, **vars(progress))))
            for job_id, run in runs.items()
            if (progress := run.progress()) is not None
        }
        moments = {job_id: moment for job_id, (moment, _) in self.progress.items()}
        change = table.last_change()
        self._look_at_standing(table, change)
        return change, moments, [_measure_metrics(run) for run in runs.values()], dict(self.standing)

    def _look_at_standing(self, table: JobTable, change: int) -> None:
        """Note how queue and daemon stand; jobs are counted only where their history has grown."""
        if change != self._counted_at:
            self._counts, self._counted_at = table.counts(), change
        holder = find_holder(self.home)
        pid, started_at = (None, None) if holder is None else (holder.pid, holder.started_at)
        for event in (QueueEvent(table.queue_paused_at()), DaemonEvent(pid, started_at, self._counts)):
            self.standing[event.kind] = _format_event(event)


def _measure_metrics(run: RunDir) -> tuple[int, int]:
    try:
        info = os.stat(run.metrics)
    except OSError:
        return 0, 0
    return info.st_ino, info.st_size


def list_endpoints(daemon: Controlled, hub: Hub) -> Sequence[Endpoint]:
    """Lists the endpoint of the event stream."""

    async def events(request: Request) -> Response:
        query = read_query(request, EventsQuery)
        after = request.headers.get("last-event-id", query.after)
        try:
            cursor = None if after is None else Cursor.parse(after)
        except ValueError as error:
            raise Refusal(422, f"after: {error}") from None
        if hub.streams >= MAX_STREAMS:
            raise Refusal(503, f"{MAX_STREAMS} clients listen already: close some")
        return StreamingResponse(
            stream_events(hub, cursor, query.job),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return [
        Endpoint(
            "GET",
            "/v1/events",
            "What happens to jobs, as it happens",
            events,
            DESCRIPTION,
            media="text/event-stream",
            query=EventsQuery,
            errors={503: "too many clients listen"},
        )
    ]


async def stream_events(hub: Hub, cursor: Cursor | None, job_id: int | None) -> AsyncIterator[bytes]:
    """Yields the body: frames as they come, until the client goes or the hub is closed."""
    database = identify_database(hub.home)
    with hub.listening(), JobTable.open_readonly(hub.home.database) as table:
        follower = Follower(table, hub.home, cursor or find_end(table, hub.home), job_id)
        yield f"retry: {RETRY_MS}\nid: {follower.cursor}\n\n".encode()  # a place to come back to, before any event
        progress_times: dict[int, Moment] = {}
        standing: dict[str, bytes] = {}
        try:
            while True:
                news, closed = hub.news(), hub.closed
                if identify_database(hub.home) != database:  # set aside and made again: this one tells no more
                    yield b": the database was made again; come back\n\n"
                    return
                while events := follower.take():
                    yield b"".join(map(format_frame, events))
                    await asyncio.sleep(0)  # a client that catches up does not hold the others
                if progress := _format_progress(hub, progress_times, job_id):
                    yield progress
                if job_id is None and standing != hub.standing:
                    yield b"".join(frame for kind, frame in hub.standing.items() if standing.get(kind) != frame)
                    standing = dict(hub.standing)
                if closed:
                    yield b": the daemon has stopped\n\n"
                    return
                try:
                    await asyncio.wait_for(news.wait(), hub.timing.events_heartbeat)
                except TimeoutError:
                    yield b":\n\n"
        except JobTableError as error:
            log.warning("an event stream ends: %s", error)


def format_frame(event: StreamEvent) -> bytes:
    """Formats one event as the protocol has it; JSON on one line holds no line break."""
    return f"id: {event.id}\n".encode() + _format_event(event.data)


def _format_event(data: EventData) -> bytes:
    return f"event: {data.kind}\ndata: ".encode() + dump_compact(asdict(data)) + b"\n\n"


def _format_progress(hub: Hub, progress_times: dict[int, Moment], job_id: int | None) -> bytes:
    """Formats each running job's progress that is newer than what this client has had."""
    frames = b""
    for job, (moment, frame) in hub.progress.items():
        if job_id in (None, job) and progress_times.get(job) != moment:
            progress_times[job] = moment
            frames += frame
    for ended_job in progress_times.keys() - hub.progress.keys():
        del progress_times[ended_job]
    return frames
