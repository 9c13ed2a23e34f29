import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.event_kinds import JobEvent, MetricsEvent, ResetEvent
from prefd.daemon.jobs.events import Cursor, Follower, StreamEvent, find_end
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.runs.metrics_tail import MetricsTail
from prefd.daemon.runs.run_folder import RunDir
from support import homes

ROWS = homes.metric_rows(12)


@pytest.fixture
def there(home: Path) -> Home:
    ready_home = Home(home)
    ready_home.create()
    return ready_home


def all_of(follower: Follower) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    while more := follower.take():
        events += more
    return events


def brief(events: list[StreamEvent]) -> list[str]:
    """`3 training`, or `3 line 12`."""
    return [f"{each.data.job} {position(each, 'line ')}" for each in events if not isinstance(each.data, ResetEvent)]


def position(event: StreamEvent, prefix: str = "") -> Any:
    """The state that a job has come into, or the line of its metrics."""
    if isinstance(event.data, MetricsEvent):
        return f"{prefix}{event.data.line}" if prefix else event.data.line
    assert isinstance(event.data, JobEvent)
    return event.data.state


def report(home: Home, job_id: int, rows: list[dict[str, Any]]) -> None:
    run = RunDir(home.job(job_id))
    run.root.mkdir(parents=True, exist_ok=True)
    with run.metrics.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def follow(home: Home, table: JobTable, after: str = "0", job_id: int | None = None) -> Follower:
    return Follower(table, home, Cursor.parse(after), job_id)


def test_ids_read_back_and_bad_ones_are_refused() -> None:
    assert str(Cursor.parse("57-3.12-4.0")) == "57-3.12-4.0"
    assert Cursor.parse("0") == Cursor()
    for bad in ("", "x", "-1", "57-", "57-3", "57-3.", "57-3.1.2", "57 ", "٣", "1" * 19, "0-" + "1.1-" * 9000):
        with pytest.raises(ValueError, match="is not the id of an event"):
            Cursor.parse(bad)


@given(st.integers(0, 10**18 - 1), st.dictionaries(st.integers(1, 10**6), st.integers(0, 10**9), max_size=20))
def test_every_cursor_is_an_id(line: int, metrics: dict[int, int]) -> None:
    assert Cursor.parse(str(Cursor(line, metrics))) == Cursor(line, metrics)


def test_a_jobs_life_is_told_in_order_with_reasons_and_its_metrics_before_its_end(there: Home) -> None:
    homes.add_done(there)
    homes.add_failed(there, reason="no row can be used", name="bad")
    with JobTable.open_readonly(there.database) as table:
        events = all_of(follow(there, table))
    lines = len(homes.metric_rows())
    assert brief(events) == [
        "1 queued",
        "1 precomputing",
        "1 training",
        *[f"1 line {number + 1}" for number in range(lines)],
        "1 done",
        "2 queued",
        "2 precomputing",
        "2 failed",
    ]
    assert isinstance(events[-1].data, JobEvent)
    assert (events[-1].data.reason, events[-1].data.name) == ("no row can be used", "bad")
    assert events[3].data == MetricsEvent(1, 1, homes.metric_rows()[0])
    assert [event.data.kind for event in events[2:4]] == ["job", "metrics"]


def test_whoever_comes_back_with_any_id_gets_exactly_what_came_behind_it(there: Home) -> None:
    homes.add_done(there)
    homes.add_running(there, name="second")
    homes.add_queued(there, name="third")
    with JobTable.open_readonly(there.database) as table:
        events = all_of(follow(there, table))
        assert len({event.id for event in events}) == len(events)
        for index, event in enumerate(events):
            assert event.id is not None
            assert all_of(follow(there, table, event.id)) == events[index + 1 :]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(st.sampled_from(["queue", "start", "report", "pause", "end", "cut off"]), max_size=40))
def test_nothing_is_missed_or_told_twice_however_often_the_client_is_cut_off(
    script: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = Home(tmp_path_factory.mktemp("homes") / "home")
    home.create()
    seen_events: list[StreamEvent] = []
    expected: dict[int, list[Any]] = {}
    reported: dict[int, int] = {}
    with JobTable.open(home.database) as table:
        follower = follow(home, table)
        for step in script:
            training = [job.id for job in table.list("training")]
            waiting = [job.id for job in table.list("queued", "paused")]
            if step == "queue":
                expected[table.add(homes.make_spec(), f"{len(expected)}.json").id] = ["queued"]
            elif step == "start" and waiting:
                if table.get(waiting[0]).state == "paused":
                    table.resume(waiting[0])
                    expected[waiting[0]].append("queued")
                table.transition(waiting[0], "training")
                expected[waiting[0]].append("training")
            elif step == "report" and training:
                reported[training[-1]] = reported.get(training[-1], 0) + 1
                report(home, training[-1], [{"step": reported[training[-1]]}])
                expected[training[-1]].append(reported[training[-1]])
            elif step in ("pause", "end") and training:
                table.transition(training[0], state := "paused" if step == "pause" else "done")
                expected[training[0]].append(state)
            elif step == "cut off":  # it has seen all but the last
                more = all_of(follower)
                seen_events += more[:-1]
                last = seen_events[-1].id if seen_events else "0"
                follower = follow(home, table, last or "0")
        seen_events += all_of(follower)
    for job_id, happened in expected.items():
        seen = [position(event) for event in seen_events if event.data.job == job_id]
        assert [each for each in seen if isinstance(each, str)] == [each for each in happened if isinstance(each, str)]
        assert [each for each in seen if isinstance(each, int)] == [each for each in happened if isinstance(each, int)]


def test_a_client_that_starts_now_is_told_nothing_of_before(there: Home) -> None:
    homes.add_done(there, name="before")
    job = homes.add_running(there)
    with JobTable.open(there.database) as table:
        follower = Follower(table, there, find_end(table, there))
        assert follower.take() == []
        report(there, job.id, [{"step": 5, "loss": 0.5}])
        table.transition(job.id, "done")
        assert brief(all_of(follower)) == ["2 line 5", "2 done"]


def test_a_paused_job_goes_on_where_its_metrics_were(there: Home) -> None:
    job = homes.add_running(there)
    with JobTable.open(there.database) as table:
        first = all_of(follow(there, table))
        table.transition(job.id, "paused")
        table.resume(job.id)
        table.transition(job.id, "training")
        report(there, job.id, [{"step": 5}])
        assert brief(all_of(follow(there, table, first[-1].id or ""))) == [
            "1 paused",
            "1 queued",
            "1 training",
            "1 line 5",
        ]


def test_lines_that_a_crash_took_back_are_not_told_again(there: Home) -> None:
    job = homes.add_running(there)
    run = RunDir(there.job(job.id))
    with JobTable.open(there.database) as table:
        follower = follow(there, table)
        all_of(follower)
        homes.write_metrics(run, ROWS[:2])  # cut back to a checkpoint
        assert follower.take() == []
        homes.write_metrics(run, ROWS[:6])
        assert brief(all_of(follower)) == ["1 line 5", "1 line 6"]
        beside = run.root / "beside"
        beside.write_bytes(run.metrics.read_bytes())
        beside.replace(run.metrics)  # another file with the same lines
        report(there, job.id, ROWS[6:7])
        assert brief(all_of(follower)) == ["1 line 7"]


def test_a_retried_job_tells_its_metrics_from_the_first(there: Home) -> None:
    job = homes.add_running(there)
    with JobTable.open(there.database) as table:
        follower = follow(there, table)
        all_of(follower)
        table.transition(job.id, "failed", "out of memory")
        table.retry(job.id)
        table.transition(job.id, "training")
        assert brief(all_of(follower)) == [
            "1 failed",
            "1 queued",
            "1 training",
            *[f"1 line {number}" for number in (1, 2, 3, 4)],
        ]


def test_a_line_that_is_being_written_waits_and_a_broken_one_is_passed_over(there: Home) -> None:
    run = RunDir(there.job(1))
    run.root.mkdir()
    tail = MetricsTail(run)
    assert tail.take() == []
    run.metrics.write_bytes(b'{"step": 1}\nnot json\n[1]\n{"st')
    assert tail.take() == [(1, {"step": 1})]
    with run.metrics.open("ab") as file:
        file.write(b'ep": 2}\n')
    assert tail.take() == [(4, {"step": 2})]


def test_a_long_file_is_told_a_piece_at_a_time(there: Home) -> None:
    job = homes.add_running(there)
    homes.write_metrics(RunDir(there.job(job.id)), [{"step": step, "pad": "x" * 1000} for step in range(1, 501)])
    with JobTable.open(there.database) as table:
        table.transition(job.id, "done")
        follower = follow(there, table)
        pieces = []
        while piece := follower.take():
            pieces.append(piece)
        assert max(map(len, pieces)) < 100
        assert [event.data.line for piece in pieces for event in piece if isinstance(event.data, MetricsEvent)] == [
            *range(1, 501)
        ]
        assert position(pieces[-1][-1]) == "done"
        assert find_end(table, there) == Cursor(4, {})


def test_one_job_alone_can_be_followed(there: Home) -> None:
    homes.add_running(there)
    homes.add_done(there, name="other")
    with JobTable.open_readonly(there.database) as table:
        events = all_of(follow(there, table, job_id=1))
        assert {event.data.job for event in events} == {1}
        assert len(events) == 3 + 4


def test_an_id_of_another_database_begins_again_and_says_so(there: Home) -> None:
    homes.add_queued(there)
    with JobTable.open_readonly(there.database) as table:
        events = all_of(follow(there, table, "99-7.3"))
    assert [event.data.kind for event in events] == ["reset", "job"]
    assert "history ends at 1, before 99" in events[0].data.reason
    assert events[0].id == "0"
