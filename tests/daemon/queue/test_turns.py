"""Whose turn it is, on jobs made by hand."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.jobs.states import STATES
from prefd.daemon.jobs.table import Job, JobTable
from prefd.daemon.queue.turns import Limits, take_turns
from prefd.daemon.text.times import format_moment
from support import homes

NOW = datetime(2026, 11, 22, 12, 0).timestamp()

with JobTable.open(Path(":memory:")) as _table:
    TEMPLATE = _table.add(homes.make_spec(), "a.yaml")


def job(number: int, **changes: Any) -> Job:
    return replace(TEMPLATE, id=number, **changes)


def ids(jobs: list[Job]) -> list[int]:
    return [each.id for each in jobs]


def test_the_oldest_goes_first_and_the_others_have_only_to_wait() -> None:
    turns = take_turns([job(2), job(1), job(3)], [], {}, Limits(), NOW)
    assert ids(turns.start) == [1]
    assert turns.waiting == {2: "", 3: ""}


def test_the_higher_priority_goes_first_but_stops_nothing_that_runs() -> None:
    queued = [job(1), job(2, priority=5), job(3, priority=5), job(4, priority=-1)]
    assert ids(take_turns(queued, [], {}, Limits(4), NOW).start) == [2, 3, 1, 4]
    assert take_turns(queued, [job(9, state="training", priority=-9)], {}, Limits(), NOW).start == []


def test_a_moment_holds_a_job_back_and_lets_the_next_go() -> None:
    queued = [job(1, not_before=NOW + 50400), job(2, not_before=NOW)]
    turns = take_turns(queued, [], {}, Limits(), NOW)
    assert (ids(turns.start), turns.waiting) == ([2], {1: f"not before {format_moment(NOW + 50400)}"})
    assert ids(take_turns(queued, [], {}, Limits(), NOW + 50400).start) == [1]


def test_a_job_waits_until_all_that_it_runs_after_are_done() -> None:
    queued = [job(6, after=(3, 4, 5))]
    states: dict[int, Any] = {3: "done", 4: "training", 5: "paused"}
    assert take_turns(queued, [], states, Limits(), NOW).waiting == {6: "waits for jobs 4 and 5 (paused)"}
    assert take_turns(queued, [], states | {5: "done"}, Limits(), NOW).waiting == {6: "waits for job 4"}
    assert ids(take_turns(queued, [], dict.fromkeys((3, 4, 5), "done"), Limits(), NOW).start) == [6]


def test_a_job_fails_with_one_that_it_was_to_run_after() -> None:
    queued = [job(6, after=(3, 4)), job(7, after=(3, 5))]
    turns = take_turns(queued, [], {3: "failed", 4: "cancelled", 5: "failed"}, Limits(), NOW, paused=True)
    assert turns.failed == {
        6: "job 3, which it was to run after, failed",
        7: "job 3, which it was to run after, failed, and job 5, which it was to run after, failed",
    }
    assert (turns.start, turns.waiting) == ([], {})


def test_a_job_is_held_for_one_that_was_cancelled_or_is_not_there_any_more() -> None:
    queued = [job(6, after=(4,)), job(7, after=(1, 8)), job(9, after=(1,))]
    turns = take_turns(queued, [], {1: "done", 4: "cancelled"}, Limits(9), NOW)
    assert ids(turns.start) == [9]
    assert turns.failed == {}
    assert turns.waiting == {
        6: "held: job 4, which it is to run after, was cancelled: `prefd retry 4`, "
        "`prefd edit 6 --after ID` for another, or `--after none`",
        7: "held: job 8, which it is to run after, is not there: "
        "`prefd edit 7 --after ID` for another, or `--after none`",
    }


def test_a_held_job_goes_on_when_the_cancelled_one_is_retried() -> None:
    held, states = job(6, after=(4,)), {4: "queued"}
    assert take_turns([held], [], states, Limits(), NOW).waiting == {6: "waits for job 4"}  # type: ignore[arg-type]
    assert ids(take_turns([held], [], {4: "done"}, Limits(), NOW).start) == [6]


def test_a_paused_queue_starts_nothing_and_still_says_what_a_job_runs_after() -> None:
    turns = take_turns([job(1), job(2, after=(1,))], [], {1: "queued"}, Limits(4), NOW, paused=True)
    assert turns.start == []
    assert turns.waiting == {1: "the queue is paused by you", 2: "the queue is paused by you; waits for job 1"}


def test_a_group_runs_as_many_as_it_is_allowed_and_others_go_past_it() -> None:
    queued = [job(2, group="nightly"), job(3, group="nightly"), job(4), job(5), job(6)]
    turns = take_turns(queued, [job(1, state="training", group="nightly")], {}, Limits(4, {"nightly": 2}), NOW)
    assert ids(turns.start) == [2, 4, 5]
    assert turns.waiting == {3: "waits for jobs 1 and 2: group nightly runs 2 at a time", 6: ""}
    turns = take_turns(queued[:3], [job(1, state="training", group="nightly")], {}, Limits(3, {"nightly": 1}), NOW)
    assert ids(turns.start) == [4]
    assert turns.waiting[2] == "waits for job 1: group nightly runs 1 at a time"


def test_of_two_that_may_miss_the_same_entries_the_second_waits_for_the_first() -> None:
    def reference(each: Job) -> Hashable:
        return {1: "small", 2: "small", 3: "large", 4: None, 5: "small"}[each.id]

    queued = [job(number) for number in (2, 3, 4, 5)]
    scoring, trains = job(1, state="precomputing"), job(1, state="training")
    turns = take_turns(queued, [scoring], {}, Limits(9), NOW, scores_with=reference)
    assert ids(turns.start) == [3, 4]
    assert turns.waiting == dict.fromkeys((2, 5), "waits for job 1 to score with the same reference")
    turns = take_turns(queued, [trains], {}, Limits(9), NOW, scores_with=reference)
    assert ids(turns.start) == [2, 3, 4]
    assert turns.waiting == {5: "waits for job 2 to score with the same reference"}


jobs = st.builds(
    job,
    number=st.integers(1, 60),
    priority=st.integers(-2, 2),
    group=st.sampled_from(["", "a", "b"]),
    not_before=st.sampled_from([None, NOW - 1, NOW + 1]),
    after=st.lists(st.integers(61, 64), max_size=2).map(tuple),
    state=st.sampled_from(["queued", "precomputing", "training"]),
)


@given(
    st.lists(jobs, max_size=15, unique_by=lambda each: each.id),
    st.dictionaries(st.integers(61, 64), st.sampled_from(STATES)),
    st.integers(1, 5),
    st.dictionaries(st.sampled_from(["a", "b"]), st.integers(1, 3)),
    st.booleans(),
)
def test_whatever_the_queue_no_limit_is_passed_and_every_job_has_one_fate(
    some: list[Job], states: dict[int, Any], together: int, groups: dict[str, int], paused: bool
) -> None:
    queued = [each for each in some if each.state == "queued"]
    running = [each for each in some if each.state != "queued"][:together]
    turns = take_turns(
        queued, running, states, Limits(together, groups), NOW, paused=paused, scores_with=lambda each: each.id % 3
    )
    assert sorted([*ids(turns.start), *turns.waiting, *turns.failed]) == sorted(ids(queued))
    assert len(running) + len(turns.start) <= together
    for group, most in groups.items():
        started = [each for each in turns.start if each.group == group]
        assert not started or len(started) + sum(each.group == group for each in running) <= most
    for each in turns.start:
        assert not paused
        assert each.not_before is None or each.not_before <= NOW
        assert all(states[other] == "done" for other in each.after)
    kinds = [each.id % 3 for each in [*turns.start, *(one for one in running if one.state == "precomputing")]]
    assert len({each.id % 3 for each in turns.start}) == len(turns.start)
    assert not turns.start or all(kinds.count(each.id % 3) == 1 for each in turns.start)


def test_the_models_of_one_clients_session_take_one_place_together() -> None:
    first, second = (f"live:{'a' * 32}:train:{number}" for number in (0, 1))
    running = [job(1, source=first, state="live", group="live")]
    queued = [job(2, source=f"live:{'b' * 32}:train:0", group="live"), job(3, source=second, group="live")]
    limits = Limits(1, {"live": 1})
    turns = take_turns(queued, running, {}, limits, NOW)
    assert (ids(turns.start), turns.waiting) == ([3], {2: ""})
    assert ids(take_turns([job(2)], [*running, job(3, source=second, state="live")], {}, Limits(2), NOW).start) == [2]
