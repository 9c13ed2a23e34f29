"""Who runs a job is woken by what is asked of it, and looks nowhere before that."""

import asyncio
import time
from collections.abc import Callable

import pytest

from prefd.daemon.jobs.table import JobTable
from prefd.daemon.machine.listeners import Listeners
from prefd.daemon.queue.requests import JobRequests
from prefd.daemon.queue.stop_request import Stop
from support.supervisor_harness import Bench, after_start


def seconds_waited(requests: JobRequests, ask: Callable[[], object], limit: float = 10.0) -> float:
    """How long `requests` waits when `ask` is called meanwhile."""

    async def wait() -> float:
        with requests.listening():
            assert not requests.to_stop
            began = time.monotonic()
            asyncio.get_running_loop().call_later(0.05, ask)
            await requests.wait(limit)
            return time.monotonic() - began

    return asyncio.run(wait())


@pytest.mark.parametrize("ask", ["request_cancel", "request_pause"])
def test_a_request_ends_the_wait_at_once(bench: Bench, ask: str) -> None:
    job = bench.add("ok")
    bench.table.transition(job.id, "precomputing")
    requests = JobRequests(bench.table, job.id, Stop())
    assert seconds_waited(requests, lambda: getattr(bench.table, ask)(job.id)) < 5
    assert requests.to_stop


def test_a_stop_ends_the_wait_at_once(bench: Bench) -> None:
    stop = Stop()
    requests = JobRequests(bench.table, bench.add("ok").id, stop)
    assert seconds_waited(requests, stop.request) < 5
    assert requests.to_stop


def test_what_happens_to_another_job_wakes_nobody(bench: Bench) -> None:
    job, other = bench.add("ok"), bench.add("ok")
    requests = JobRequests(bench.table, job.id, Stop())
    assert seconds_waited(requests, lambda: bench.table.request_cancel(other.id), limit=0.3) >= 0.3


def test_a_change_that_is_rolled_back_wakes_nobody(bench: Bench) -> None:
    job = bench.add("ok")
    requests = JobRequests(bench.table, job.id, Stop())

    def fail() -> None:
        with pytest.raises(ValueError, match="not a moment"), bench.table.transaction():  # noqa: PT012  # the transaction is what fails
            bench.table._set(job.id, "cancel_requested", 1)
            raise ValueError("not a moment")

    assert seconds_waited(requests, fail, limit=0.3) >= 0.3


def test_a_running_job_is_looked_up_only_when_something_happens(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job, real, looks = bench.add("sleep"), JobTable.get, list[float]()

    def get(self: JobTable, job_id: int) -> object:
        looks.append(time.monotonic())
        return real(self, job_id)

    async def during() -> None:
        await after_start(bench, job, lambda: monkeypatch.setattr(JobTable, "get", get))()
        await asyncio.sleep(0.5)
        monkeypatch.undo()
        bench.table.request_cancel(job.id)

    assert bench.run(job, during=during).state == "cancelled"
    assert len(looks) <= 1, "25 ticks went by"


def test_another_process_that_writes_is_noticed_once(bench: Bench) -> None:
    job = bench.add("ok")
    with JobTable.open(bench.home.database) as other:
        other.was_changed_elsewhere()
        assert not other.was_changed_elsewhere()
        bench.table.request_cancel(job.id)
        assert other.was_changed_elsewhere()
        assert not other.was_changed_elsewhere()
        other.retry(job.id)
        assert not other.was_changed_elsewhere(), "its own writing is no news"


def test_listeners_are_told_inside_their_block_only() -> None:
    listeners, inside, beside = Listeners[int](), asyncio.Event(), asyncio.Event()
    with listeners.listening(1, inside), listeners.listening(2, beside):
        listeners.tell(1)
        assert (inside.is_set(), beside.is_set()) == (True, False)
        listeners.tell_all()
        assert beside.is_set()
    inside.clear()
    listeners.tell(1)
    assert not inside.is_set()


def test_a_rest_ends_with_the_stop() -> None:
    stop = Stop()

    async def rest() -> float:
        began = time.monotonic()
        asyncio.get_running_loop().call_later(0.05, stop.request)
        await stop.rest(10)
        await stop.rest(10)
        return time.monotonic() - began

    assert asyncio.run(rest()) < 5
