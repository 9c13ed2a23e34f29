"""A clock that is set back under a daemon repeats nothing, hangs nothing, and shows no time that has not been."""

from __future__ import annotations

import json
import re
import time

import pytest

from prefd.daemon.control.client import Client
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.event_kinds import JobEvent
from prefd.daemon.jobs.table import JobTable
from support import fake_worker
from support.homes import invoke
from support.running_daemon import Place

HOUR = 3600.0


def test_jobs_run_once_and_in_time_when_the_clock_is_set_back_an_hour(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Job 2 runs while that happens, job 3 is dropped behind it, and job 4 waits for a moment of the new time."""
    now, offset = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: now() + offset[0])
    with place.daemon() as client:
        place.drop("1.yaml", name="ok")
        place.wait_for("done")
        place.drop("2.yaml", name="gate")
        place.wait_for("done", "precomputing")
        offset[0] = -HOUR
        (place.home.root / "gate").touch()
        place.wait_for("done", "done")
        place.drop("3.yaml", name="ok", training={"iters": 3})
        place.wait_for("done", "done", "done")
        # of the clock as it is now; the queue looks again each time that something has changed
        moment = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + 60))
        place.drop("4.yaml", name="ok", training={"iters": 4}, not_before=moment)
        place.wait_for("done", "done", "done", "queued")
        fake_worker.wait_for(lambda: "not before" in invoke(place.home, "jobs").stdout)
        offset[0] = 0.0
        client.act_on_queue("resume-all")
        place.wait_for("done", "done", "done", "done")
        events = list_events(client)
    for job_id in (1, 2, 3, 4):
        assert [state for number, state in events if number == job_id].count("done") == 1
        assert_in_order_and_shown(place.home, job_id)


def list_events(client: Client) -> list[tuple[int, str]]:
    """The jobs and states of all changes until now, as a client that begins at the first gets them."""
    events: list[tuple[int, str]] = []
    for received in client.events("0"):
        if isinstance(received.data, JobEvent):
            events.append((received.data.job, received.data.state))
        if sum(state == "done" for _, state in events) == 4:
            break
    return events


def assert_in_order_and_shown(home: Home, job_id: int) -> None:
    """A job's changes of state are in the order of time, and no span that is shown of it is negative."""
    with JobTable.open_readonly(home.database) as table:
        moments = [event.at for event in table.history(job_id)]
        job = table.get(job_id)
    assert moments == sorted(moments)
    assert job.finished_at is not None
    assert all(seconds >= 0 for seconds in job.phase_seconds.values())
    for words in (["show", job_id], ["jobs"], ["clean", "--older-than", "0s", "--dry-run"]):
        assert not re.search(r"(?<![\w-])-\d+(\.\d+)?\s*[smhd]\b", invoke(home, *words).stdout)


def test_what_ended_in_the_future_is_old_to_no_rule_and_goes_by_its_number(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support.homes import add_done

    add_done(ready_home, name="ahead")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - HOUR)
    cleaning = json.loads(invoke(ready_home, "clean", "--older-than", "1s", "--dry-run", "--json").stdout)
    assert cleaning["deleted"] == [], "it was not there yet"
    assert invoke(ready_home, "rm", 1).exit_code == 0
    fake_worker.wait_for(lambda: not ready_home.job(1).exists())
