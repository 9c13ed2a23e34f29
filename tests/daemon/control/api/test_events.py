import asyncio
import itertools
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace

import psutil
import pytest

from prefd.daemon.control.api.events import Hub, stream_events
from prefd.daemon.control.client import Client, DaemonNotRunning, Received, read_events
from prefd.daemon.control.control_error import ControlError
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.event_kinds import JobEvent, MetricsEvent, ProgressEvent, ResetEvent
from prefd.daemon.jobs.events import Cursor
from prefd.daemon.jobs.rebuild import mend
from prefd.daemon.jobs.states import ENDED
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.runs.run_folder import Progress, RunDir
from support import fake_worker, homes
from support.control_server import serving, talking
from support.quick_timing import QUICK_TIMING
from support.running_daemon import Place, process


def end(home: Home, job_id: int, reason: str = "") -> None:
    with JobTable.open(home.database) as table:
        table.transition(job_id, "done", reason)


STANDING = ("queue", "daemon")
"""The kinds of which only the newest is told."""


def until(events: Iterator[Received], state: str) -> list[Received]:
    """The events up to the first of a job in this state, without those that say how things stand."""
    received = []
    for event in events:
        if event.kind in STANDING:
            continue
        received.append(event)
        if event.document.get("state") == state:
            return received
    raise AssertionError(f"the stream ended before {state}: {received}")


def test_a_client_is_told_what_happens_while_it_listens(ready_home: Home) -> None:
    homes.add_done(ready_home, name="before")
    job = homes.add_running(ready_home)
    with serving(ready_home):
        events = Client(ready_home).events()
        first = next(events)
        assert (first.kind, first.data, first.id) == ("open", None, "7-2.4")
        homes.write_metrics(RunDir(ready_home.job(job.id)), homes.metric_rows()[:5])
        end(ready_home, job.id, "trained 5 steps")
        changes = [event for event in until(events, "done") if event.kind != "progress"]
        assert [(event.kind, event.id) for event in changes] == [("metrics", "7-2.5"), ("job", "8")]
        assert changes[0].data == MetricsEvent(job=2, line=5, values=homes.metric_rows()[4])
        assert isinstance(change := changes[1].data, JobEvent)
        assert (change.job, change.state, change.reason) == (2, "done", "trained 5 steps")
        events.close()


def test_only_the_newest_progress_is_told_and_has_no_id_of_its_own(ready_home: Home) -> None:
    job = homes.add_running(ready_home)
    with serving(ready_home):
        events = Client(ready_home).events()
        first = next(events)
        second = next(event for event in events if event.kind == "progress")
        assert second.id == first.id
        assert isinstance(progress := second.data, ProgressEvent)
        assert (progress.job, progress.done, progress.total) == (job.id, 4, homes.STEPS)
        RunDir(ready_home.job(job.id)).write_progress(Progress("training", 9, homes.STEPS, "steps"))
        assert next(event for event in events if event.kind == "progress").document["done"] == 9
        events.close()


def test_how_queue_and_daemon_stand_is_told_at_once_and_when_it_changes(ready_home: Home) -> None:
    homes.add_done(ready_home)
    with serving(ready_home) as daemon:
        events = Client(ready_home).events()
        standing = {event.kind: event for event in itertools.islice(events, 3)}
        assert {event.id for event in standing.values()} == {"4"}
        assert standing["queue"].document == {"paused_at": None}
        assert standing["daemon"].document["pid"] == os.getpid()
        assert standing["daemon"].document["jobs"]["done"] == 1
        daemon.act_on_queue("pause")
        changed = next(events)
        assert (changed.kind, changed.document["paused_at"] is None) == ("queue", False)
        homes.add_queued(ready_home, name="next")
        counted = next(event for event in events if event.kind == "daemon")
        assert counted.document["jobs"]["queued"] == 1
        of_one_job = Client(ready_home).events("0", 1)
        assert not {event.kind for event in itertools.islice(of_one_job, 6)} & set(STANDING)
        for stream in (events, of_one_job):
            stream.close()


def test_an_event_of_another_version_of_the_daemon_is_read_as_far_as_this_client_knows_it() -> None:
    reset = {"reason": "made anew", "since": 3}
    assert Received("1", "reset", reset).data == ResetEvent("made anew"), "a field more is passed over"
    assert Received("1", "weather", {"wind": 7}).data is None
    with pytest.raises(ControlError, match="the daemon's reset event has no reason that this prefd can read"):
        _ = Received("1", "reset", {}).data


def test_without_a_daemon_the_stream_of_the_page_says_so(ready_home: Home) -> None:
    homes.add_queued(ready_home)

    async def listen() -> list[bytes]:
        stream = stream_events(Hub(ready_home, QUICK_TIMING), None, None)
        frames = [await anext(stream), await anext(stream)]
        await stream.aclose()  # type: ignore[attr-defined]
        return frames

    _, standing = asyncio.run(asyncio.wait_for(listen(), 60))
    assert b'event: daemon\ndata: {"pid":null,"started_at":null,"jobs":{"queued":1,' in standing


def test_the_header_that_browsers_send_goes_before_the_url(ready_home: Home) -> None:
    homes.add_done(ready_home)
    with serving(ready_home), talking(ready_home) as http:
        with http.stream("GET", "/v1/events?after=0", headers={"Last-Event-ID": "3-1.13"}) as reply:
            assert reply.headers["content-type"].startswith("text/event-stream")
            events = read_events(reply)
            assert next(events).id == "3-1.13"
            assert next(events).document["line"] == 14
        with http.stream("GET", "/v1/events?after=2&job=1") as reply:
            assert [event.kind for event in itertools.islice(read_events(reply), 3)][1:] == [
                "job",
                "metrics",
            ]


@pytest.mark.parametrize("query", ["after=yesterday", "after=1-", "job=0", "job=x", "jobs=1", "after=1&after=2"])
def test_an_id_that_is_none_is_refused_with_its_value(ready_home: Home, query: str) -> None:
    with serving(ready_home), talking(ready_home) as http:
        reply = http.get(f"/v1/events?{query}")
        assert reply.status_code == 422
        assert query.partition("=")[0] in reply.json()["lines"][0]
    with serving(ready_home), pytest.raises(ControlError, match="is not the id of an event"):
        next(Client(ready_home).events("yesterday"))


def test_over_restarts_of_the_daemon_nothing_is_missed_and_nothing_told_twice(ready_home: Home) -> None:
    """A client that is cut off again and again, by itself and by the daemon, while jobs come and go."""
    seen: list[Received] = []
    states = ["queued", "precomputing", "training", "done"]
    after, number = "0", 0
    for round_ in range(4):
        with serving(ready_home):
            for cut in range(3):
                number += 1
                homes.add_done(ready_home, name=f"job-{number}")
                events = Client(ready_home).events(after)
                wanted = 2 + 7 * cut + round_
                for event in itertools.islice((each for each in events if each.kind in ("job", "metrics")), wanted):
                    seen.append(event)
                    after = event.id
                events.close()
        homes.add_done(ready_home, name=f"job-{(number := number + 1)}")
    with serving(ready_home):
        last = Client(ready_home).events(after)
        while len([event for event in seen if event.document.get("state") == "done"]) < number:
            if (event := next(last)).kind in ("job", "metrics"):
                seen.append(event)
        last.close()
    for job in range(1, number + 1):
        mine = [
            event.document.get("state", event.document.get("line")) for event in seen if event.document["job"] == job
        ]
        assert mine == [*states[:3], *range(1, len(homes.metric_rows()) + 1), "done"]


def test_the_stream_ends_with_the_daemon_after_what_was_left_to_tell(ready_home: Home) -> None:
    job = homes.add_running(ready_home)
    received: list[Received] = []
    with serving(ready_home):
        events = Client(ready_home).events()
        next(events)
        listening = threading.Thread(target=lambda: received.extend(events))
        listening.start()
        end(ready_home, job.id)
    listening.join(5)
    assert not listening.is_alive()
    assert [event.document["state"] for event in received if event.kind == "job"] == ["done"]
    with pytest.raises(DaemonNotRunning):
        next(Client(ready_home).events())


def test_a_silent_stream_has_a_heartbeat(ready_home: Home) -> None:
    with (
        serving(ready_home, replace(QUICK_TIMING, events_heartbeat=0.05)),
        talking(ready_home) as http,
        http.stream("GET", "/v1/events") as reply,
    ):
        beats = [line for line in itertools.islice(reply.iter_lines(), 14) if line.startswith(":")]
        assert len(beats) >= 2


def test_nobody_looks_while_nobody_listens(ready_home: Home) -> None:
    async def listen() -> list[int]:
        hub = Hub(ready_home, QUICK_TIMING)
        looks = []
        for _ in range(2):
            one, two = stream_events(hub, None, None), stream_events(hub, None, None)
            await anext(one)
            await anext(two)
            looks.append(hub.streams)
            assert hub._looking is not None
            await close(one)
            await close(two)
            assert hub._looking is None
        return looks

    assert asyncio.run(listen()) == [2, 2]


async def close(body: AsyncIterator[bytes]) -> None:
    await body.aclose()  # type: ignore[attr-defined]


def test_fifty_clients_cost_little_and_are_all_told(ready_home: Home) -> None:
    """CPU of the process while 50 clients listen and one event a look comes, the clients' own included."""
    job = homes.add_running(ready_home)

    async def listen() -> tuple[float, int]:
        hub = Hub(ready_home)
        event_count = 0

        async def one() -> None:
            nonlocal event_count
            async for body in stream_events(hub, Cursor(3, {job.id: 4}), None):
                event_count += body.count(b"event: metrics")

        clients = [asyncio.create_task(one()) for _ in range(50)]
        await asyncio.sleep(0.3)
        began, cpu = time.monotonic(), psutil.Process().cpu_times()
        for rows in range(5, 9):
            homes.write_metrics(RunDir(ready_home.job(job.id)), homes.metric_rows()[:rows])
            await asyncio.sleep(0.3)
        spent = psutil.Process().cpu_times()
        share = (spent.user + spent.system - cpu.user - cpu.system) / (time.monotonic() - began)
        hub.close()
        await asyncio.gather(*clients)
        return share, event_count

    share, event_count = asyncio.run(listen())
    assert event_count == 50 * 4
    assert share < 0.3


def test_every_frame_is_one_line_of_json(ready_home: Home) -> None:
    reason = 'line one\nline two\r\n"quoted"\u2028 end'
    homes.add_failed(ready_home, reason=reason)
    with serving(ready_home), talking(ready_home) as http, http.stream("GET", "/v1/events?after=2") as reply:
        pieces = reply.iter_bytes()
        block = next(pieces)
        while b"data: " not in block:
            block += next(pieces)
    (data,) = [line for line in block.split(b"\n") if line.startswith(b"data: ")]
    assert json.loads(data.removeprefix(b"data: "))["reason"] == reason
    with serving(ready_home):
        events = Client(ready_home).events("2")
        assert until(events, "failed")[-1].document["reason"] == reason, "no character of it ends the line for a client"
        events.close()


def test_a_stream_ends_when_the_database_is_made_again_and_the_next_one_tells_of_the_new(ready_home: Home) -> None:
    homes.add_done(ready_home, name="old")
    with serving(ready_home):
        events = Client(ready_home).events("0")
        assert next(events).kind == "open"
        with JobTable.open(ready_home.database) as table:
            mend(ready_home, table, "damaged for this test")
        homes.add_queued(ready_home, name="new")
        assert "new" not in [event.document.get("name") for event in events], "it ends by itself"
        again = Client(ready_home).events("0")
        assert "new" in (event.document.get("name") for event in again)
        again.close()


@pytest.mark.slow
@pytest.mark.thorough  # a crash between any two commits is tried above
def test_over_kill_9_of_the_daemon_every_change_is_told_once_and_every_end_notified_under_one_id(place: Place) -> None:
    """A client follows; the daemon is killed in the middle of jobs, twice; history, stream and the hook's file agree.

    A daemon that is killed between the hook and its record runs the hook again for that end, with the same id.
    """
    log_file = place.home.root / "told"
    command = f"echo $PREFD_EVENT_ID $PREFD_JOB_ID $PREFD_JOB_STATE >> {log_file}"
    hook = f'[notify]\ncommand = ["/bin/sh", "-c", "{command}"]\n'
    seen: list[Received] = []
    after = "0"
    for round_ in range(3):
        with process(place, hook):
            for number in range(3):
                place.drop(f"{round_}-{number}.json", name="ok" if number else "fail")
            ended = 3 * round_ + (3 if round_ == 2 else 1)
            with closing(Client(place.home).events(after)) as events:
                for event in events:
                    after = event.id
                    if event.kind == "job":
                        seen.append(event)
                        if len({each.document["job"] for each in seen if each.document["state"] in ENDED}) >= ended:
                            break
            if round_ == 2:
                fake_worker.wait_for(lambda: log_file.exists() and len(set(log_file.read_text().splitlines())) >= 9)
    with JobTable.open_readonly(place.home.database) as table:
        everything = [change for change in table.changes(0, 10_000) if change.number <= int(after.split("-")[0])]
    assert [(change.job_id, change.state, change.reason) for change in everything] == [
        (event.document["job"], event.document["state"], event.document["reason"]) for event in seen
    ]
    lines = log_file.read_text().splitlines()
    ends = sorted(line.split()[1:] for line in set(lines))
    assert ends == sorted([str(job.id), job.state] for job in place.jobs())
    assert len(lines) <= len(ends) + 2  # once more for each kill at most
