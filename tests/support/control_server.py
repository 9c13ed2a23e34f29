"""A control API in a thread of its own, over a home that a test fills by hand: no loops, no workers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx

from prefd.daemon.control.answers import Acted
from prefd.daemon.control.server import listening, serve_control
from prefd.daemon.control.status import ActiveJob, CatalogHealth, Queue, Status, Worker
from prefd.daemon.home.layout import Home
from prefd.daemon.home.lock import announce, hold_lock
from prefd.daemon.inbox.health import WatchHealth
from prefd.daemon.jobs.actions import JOB_ACTIONS, JOBS_ACTIONS, QUEUE_ACTIONS
from prefd.daemon.jobs.leftovers import set_aside
from prefd.daemon.jobs.states import RUNNING
from prefd.daemon.jobs.table import Job, JobTable
from prefd.daemon.runs.pair_answers import PairsState
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.edited_spec import EditRequest, read_base, read_edited_spec
from prefd.daemon.specs.live_spec import LiveModel
from prefd.daemon.text.parsed import MAX_BYTES
from prefd.daemon.timing import Timing
from support import fake_worker
from support.loop_thread import running_in_thread
from support.quick_timing import QUICK_TIMING
from support.sockets import find_socket


class FakeDaemon:
    """Answers from the home's table, as the daemon does."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.max_spec_bytes = MAX_BYTES
        self.max_list_bytes = 4 * MAX_BYTES
        self.stops = 0
        self.posted_specs: list[tuple[bytes, str]] = []
        self.failure: Exception | None = None
        self.answer: Status | None = None
        """What it says of itself, where a test sets it."""

    def status(self) -> Status:
        if self.failure is not None:
            raise self.failure
        if self.answer is not None:
            return self.answer
        with JobTable.open_readonly(self.home.database) as table:
            running = table.list(*RUNNING)
            return Status(
                pid=42,
                version="0.1.0",
                started_at=1763794998.5,
                uptime_s=1.5,
                home=str(self.home.root),
                socket=str(self.home.socket),
                stopping=False,
                active=[ActiveJob.from_job(job, RunDir(self.home.job(job.id)).progress()) for job in running],
                jobs=table.counts(),
                queue=Queue(paused_at=table.queue_paused_at()),
                watcher=WatchHealth("events", last_rescan=1763795000.25),
                catalog=CatalogHealth(error=None, losses=4),
                worker=Worker(cpus=0, memory="", nice=0, limits=""),
                memory_rss_bytes=57_000_000,
            )

    def request_stop(self) -> None:
        self.stops += 1

    def act(self, action: str, job_id: int) -> Job:
        with JobTable.open(self.home.database) as table:
            return JOB_ACTIONS[action](table, job_id)

    async def act_on_jobs(self, action: str, job_ids: Sequence[int]) -> None:
        with JobTable.open(self.home.database) as table:
            JOBS_ACTIONS[action](table, job_ids)

    def score_pairs(self, job_id: int) -> PairsState:
        with JobTable.open_readonly(self.home.database) as table:
            return PairsState(job=table.get(job_id).id, state="waiting", reason="")

    async def discard(self, part: str, job_ids: Sequence[int]) -> None:
        with JobTable.open(self.home.database) as table:
            table.discard(self.home.runs, job_ids, part, partial(set_aside, self.home))

    async def edit(self, job_id: int, request: EditRequest) -> Job:
        with JobTable.open(self.home.database) as table:
            current = table.spec(job_id)
            spec = read_edited_spec(current, request, None, self.home.jobs)
            return table.edit(job_id, spec, read_base(request, current))

    def edit_settings(self, job_ids: Sequence[int], settings: Mapping[str, Any]) -> list[Job]:
        with JobTable.open(self.home.database) as table:
            return table.edit_settings(job_ids, settings)

    def act_on_queue(self, action: str) -> Acted:
        with JobTable.open(self.home.database) as table:
            jobs = QUEUE_ACTIONS[action](table)
            return Acted(queue=Queue(paused_at=table.queue_paused_at()), jobs=jobs)

    async def catalog(self) -> Catalog:
        return fake_worker.catalog()

    def open_live(self, model: LiveModel) -> Job:
        raise NotImplementedError

    async def submit(self, data: bytes, name: str) -> list[Job]:
        self.posted_specs.append((data, name))
        return []


@contextmanager
def serving(home: Home, timing: Timing = QUICK_TIMING) -> Iterator[FakeDaemon]:
    """It answers on the home's socket until the end of the block."""
    daemon = FakeDaemon(home)
    with hold_lock(home), listening(home) as listener:
        listener.listen(2048)  # as uvicorn does, which may come later than the first client
        announce(home, listener.getsockname())
        with running_in_thread(lambda: serve_control(daemon, listener, timing)):
            yield daemon


@contextmanager
def talking(home: Home) -> Iterator[httpx.Client]:
    """A plain HTTP client of the home's socket."""
    transport = httpx.HTTPTransport(uds=find_socket(home), verify=False, trust_env=False)
    with httpx.Client(transport=transport, base_url="http://prefd", timeout=60, trust_env=False) as http:
        yield http


def eventually(http: httpx.Client, path: str, status: int, seconds: float = 60.0) -> httpx.Response:
    """The answer, once it has that status."""
    deadline = time.monotonic() + seconds
    while (reply := http.get(path)).status_code != status:
        assert time.monotonic() < deadline, reply.text
        time.sleep(0.05)
    return reply
