"""An edit of a job that waits takes effect or is refused: whichever of edit and start commits first decides."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.database import IN_MEMORY
from prefd.daemon.jobs.edits import NotEditable, find_circle
from prefd.daemon.jobs.job import JobNotFound
from prefd.daemon.jobs.states import WAITING
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.queue import supervisor
from prefd.daemon.runs.refreezing import freeze_edited, is_frozen
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.snapshot import read_frozen_spec
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.spec_error import SpecError
from support import homes
from support.supervisor_harness import Bench


def spec(**changes: Any) -> JobSpec:
    return homes.make_spec(**changes)


def test_every_setting_of_the_queue_is_changed_in_the_row_and_in_the_spec() -> None:
    with JobTable.open(IN_MEMORY) as table:
        table.add(spec(name="first"), "01-first.yaml")
        table.add(spec(name="a"), "01-a.yaml")
        edited = spec(name="b", group="g", priority=5, after=[1], not_before="2099-01-01 00:00+00:00")
        job = table.edit(2, edited)
        assert (job.name, job.group, job.priority, job.after) == ("b", "g", 5, (1,))
        assert job.not_before == edited.starts_at
        assert table.spec(2) == edited
        assert job.reason == (
            "edited by you: name a → b; group none → g; priority 0 → 5; after none → job 1; "
            "not_before none → 2099-01-01 00:00+00:00"
        )
        assert [event.state for event in table.history(2)] == ["queued", "queued"], "the edit is in its history"
        assert table.edit(2, edited).reason == job.reason, "nothing changed: no line more"
        assert len(table.history(2)) == 2


def test_only_what_waits_can_be_edited_and_each_refusal_says_what_can_be_done() -> None:
    with JobTable.open(IN_MEMORY) as table:
        table.add(spec(), "01-a.yaml")
        table.transition(1, "training")
        with pytest.raises(
            NotEditable, match="job 1 is training: only a queued or paused job can be edited; `prefd pause 1`"
        ):
            table.edit(1, spec(priority=1))
        table.put_back(1, "")
        table.edit(1, spec(priority=1))
        with pytest.raises(
            NotEditable, match="job 1 has begun, and goes on with the spec that it began with: only its name"
        ):
            table.edit(1, spec(priority=1, loss={"name": "sigmoid"}))
        table.request_cancel(1)
        with pytest.raises(
            NotEditable, match=r"job 1 has ended \(cancelled\): submit an edited spec, or `prefd retry 1`"
        ):
            table.edit(1, spec(priority=2))
        table.retry(1, fresh=True)
        assert table.edit(1, spec(loss={"name": "sigmoid"})).state == "queued", "it begins from nothing"
        table.add(spec(), "/x/a.yaml", owner="run:1")
        with pytest.raises(NotEditable, match="job 2 is run by `prefd run`"):
            table.edit(2, spec(priority=1))
        with pytest.raises(JobNotFound, match="there is no job 9"):
            table.edit(9, spec())


def test_an_edit_of_a_spec_that_was_edited_meanwhile_is_refused() -> None:
    with JobTable.open(IN_MEMORY) as table:
        table.add(spec(), "01-a.yaml")
        base = table.spec(1)
        table.edit(1, spec(priority=1), base)
        with pytest.raises(NotEditable, match="job 1 was edited by someone else meanwhile; nothing was changed"):
            table.edit(1, spec(priority=2), base)
        assert table.get(1).priority == 1


def test_after_names_jobs_that_are_there_may_succeed_and_do_not_wait_for_this_one() -> None:
    with JobTable.open(IN_MEMORY) as table:
        for name in "abc":
            table.add(spec(name=name), f"01-{name}.yaml")
        table.edit(2, spec(name="b", after=[1]))
        table.edit(3, spec(name="c", after=[2]))
        with pytest.raises(NotEditable, match="after: jobs 1 → 3 → 2 → 1 would wait for each other in a circle"):
            table.edit(1, spec(name="a", after=[3]))
        with pytest.raises(NotEditable, match="after: job 1 cannot run after itself"):
            table.edit(1, spec(name="a", after=[1]))
        with pytest.raises(JobNotFound, match="there is no job 9"):
            table.edit(1, spec(name="a", after=[9]))
        table.transition(1, "failed", "no rows")
        with pytest.raises(
            NotEditable, match="after: job 1 is failed, so job 3 would wait for nothing; `prefd retry 1`"
        ):
            table.edit(3, spec(name="c", after=[1]))


@given(st.dictionaries(st.integers(1, 6), st.lists(st.integers(1, 6), max_size=3), max_size=6), st.integers(1, 6))
def test_a_circle_is_found_where_the_job_can_be_reached_from_itself(
    waits_for: dict[int, list[int]], start: int
) -> None:
    reached, pending = set[int](), [start]
    while pending:
        for each in waits_for.get(pending.pop(), []):
            if each not in reached:
                reached.add(each)
                pending.append(each)
    circle = find_circle(start, waits_for)
    assert bool(circle) == (start in reached)
    if circle:
        assert circle[0] == circle[-1] == start
        assert all(after in waits_for[before] for before, after in itertools.pairwise(circle))


def test_a_job_begins_only_with_the_spec_that_was_prepared_for_it() -> None:
    with JobTable.open(IN_MEMORY) as table:
        table.add(spec(), "01-a.yaml")
        prepared = table.spec(1)
        table.edit(1, spec(not_before="2099-01-01 00:00+00:00"))
        assert table.begin(1, "training", prepared) is None
        assert table.get(1).state == "queued"
        assert table.begin(1, "training", table.spec(1)) is not None
        assert table.begin(1, "training", table.spec(1)) is None, "it runs already"


@pytest.mark.parametrize("state", WAITING)
def test_a_paused_or_cancelled_job_does_not_begin(state: str) -> None:
    with JobTable.open(IN_MEMORY) as table:
        table.add(spec(), "01-a.yaml")
        if state == "paused":
            table.request_pause(1)
        assert (table.begin(1, "training", table.spec(1)) is None) == (state == "paused")


def edited(bench: Bench, **changes: Any) -> JobSpec:
    return bench.table.spec(1).model_copy(update=changes)


@pytest.mark.parametrize("change", [{"priority": 7}, {"group": "night"}, {"description": None}], ids=str)
def test_an_edit_between_the_look_and_the_start_takes_effect(
    bench: Bench, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The edit comes while the spec is frozen, which is after it was read: the job is put back, and begins with the edit."""
    job = bench.add("ok")
    real, edits = supervisor.freeze_edited, [0]
    data = bench.table.spec(1).data.model_copy(update={"max_length": 77})
    new = edited(bench, **(change if change.keys() != {"description"} else {"data": data}))

    async def edit_soon() -> None:
        while not edits[0]:
            await asyncio.sleep(0.001)
        bench.table.edit(1, new)
        edits[0] = 2

    def freeze_slowly(home: Home, job_id: int, old: JobSpec, **more: Any) -> RunDir:
        import time

        run = real(home, job_id, old, **more)
        if not edits[0]:
            edits[0] = 1
            deadline = time.monotonic() + 60
            while edits[0] == 1 and time.monotonic() < deadline:
                time.sleep(0.001)
        return run

    monkeypatch.setattr(supervisor, "freeze_edited", freeze_slowly)
    after = bench.run(job, during=edit_soon)
    assert after.state == "queued", "it was not begun with what it was"
    assert bench.run(job).state == "done"
    assert read_frozen_spec(RunDir(bench.home.job(1))).model_dump(exclude={"data": {"date"}}) == new.model_dump(
        exclude={"data": {"date"}}
    )


def test_a_spec_from_which_something_was_trained_stays_frozen(ready_home: Home) -> None:
    first, second = spec(), spec(loss={"name": "sigmoid"})
    run = freeze_edited(ready_home, 1, first)
    assert is_frozen(run, first)
    freeze_edited(ready_home, 1, second)
    assert is_frozen(run, second)
    (run.checkpoints / "step-00000010").mkdir(parents=True)
    freeze_edited(ready_home, 1, first)
    assert is_frozen(run, second)


def test_a_job_that_is_held_for_a_lost_one_can_still_be_edited_otherwise() -> None:
    with JobTable.open(IN_MEMORY) as table:
        for name in "ab":
            table.add(spec(name=name), f"01-{name}.yaml")
        waits = table.add(spec(name="c", after=[1, 2]), "01-c.yaml")
        table.request_cancel(1)
        with table.transaction():
            table._db.execute("DELETE FROM jobs WHERE id = 2")
        assert table.edit(waits.id, spec(name="c", after=[1, 2], priority=5)).priority == 5
        assert table.edit(waits.id, spec(name="c", after=[1])).after == (1,)
        with pytest.raises(JobNotFound, match="there is no job 2"):
            table.edit(waits.id, spec(name="c", after=[1, 2]))


def test_the_settings_of_several_jobs_are_changed_or_those_of_none() -> None:
    with JobTable.open(IN_MEMORY) as table:
        for name in "abc":
            table.add(spec(name=name), f"01-{name}.yaml")
        jobs = table.edit_settings([1, 2], {"priority": 5, "group": "night"})
        assert [(job.id, job.priority, job.group) for job in jobs] == [(1, 5, "night"), (2, 5, "night")]
        assert [table.spec(job_id).loss_names for job_id in (1, 2)] == [{"ipo"}, {"ipo"}], "the rest stays"
        table.transition(3, "precomputing")
        with pytest.raises(NotEditable, match="job 3 is precomputing"):
            table.edit_settings([1, 3], {"priority": 7})
        with pytest.raises(NotEditable, match="job 2 cannot run after itself"):
            table.edit_settings([1, 2], {"after": [2]})
        with pytest.raises(SpecError, match="priority"):
            table.edit_settings([1, 2], {"priority": "high"})
        assert [(job.priority, job.after) for job in table.list()] == [(5, ()), (5, ()), (0, ())]
