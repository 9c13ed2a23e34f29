"""Which jobs a retry of one takes along: those that failed because it had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from prefd.daemon.jobs.job import IllegalTransition
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.queue.turns import Limits, take_turns
from support import homes


@pytest.fixture
def table() -> Iterator[JobTable]:
    with JobTable.open(Path(":memory:")) as table:
        yield table


def add(table: JobTable, *after: int) -> int:
    return table.add(homes.make_spec(after=list(after)), f"{len(table.list())}.yaml").id


def fail(table: JobTable, job_id: int) -> None:
    """Fail the job by itself, and let the queue fail those that were to run after it."""
    table.transition(job_id, "training")
    table.transition(job_id, "failed", "no row can be used")
    settle(table)


def settle(table: JobTable) -> None:
    while failed := look(table):
        for each, reason in failed.items():
            table.transition(each, "failed", reason)


def look(table: JobTable) -> dict[int, str]:
    queued = table.list("queued")
    return take_turns(queued, [], table.states({each for job in queued for each in job.after}), Limits(), 0.0).failed


def states(table: JobTable) -> list[str]:
    return [job.state for job in table.list()]


def test_a_retry_takes_along_what_failed_because_of_it_and_what_failed_because_of_that(table: JobTable) -> None:
    first = add(table)
    second = add(table, first)
    add(table, second)
    add(table, first, second)  # a diamond: one of its two comes later than it would by its number
    other = add(table)
    fail(table, other)
    fail(table, first)
    assert states(table) == ["failed"] * 5
    table.retry(first)
    assert states(table) == ["queued"] * 4 + ["failed"]
    assert look(table) == {}, "none of them fails again"
    assert table.get(second).reason == "retried with what it is to run after"


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_what_failed_for_two_waits_until_both_are_retried(table: JobTable, order: Sequence[int]) -> None:
    add(table, *[add(table), add(table)])
    fail(table, 1)
    fail(table, 2)
    table.retry(order[0])
    assert table.get(3).state == "failed"
    table.retry(order[1])
    assert states(table) == ["queued"] * 3


def test_what_failed_by_itself_or_was_cancelled_is_left(table: JobTable) -> None:
    first = add(table)
    by_itself, cancelled = add(table, first), add(table, first)
    table.request_cancel(cancelled)
    fail(table, by_itself)
    fail(table, first)
    table.retry(first)
    assert states(table) == ["queued", "failed", "cancelled"]


def test_all_of_a_chain_can_be_named_in_any_order(table: JobTable) -> None:
    first = add(table)
    second = add(table, first)
    third = add(table, second)
    fail(table, first)
    table.retry_many([third, second, first])
    assert states(table) == ["queued"] * 3
    assert table.get(third).attempt == 2


def test_a_retry_that_would_fail_again_at_once_is_refused_with_what_to_retry(table: JobTable) -> None:
    first = add(table)
    third = add(table, add(table, first))
    fail(table, first)
    with pytest.raises(
        IllegalTransition, match=r"job 3 would fail again: job 2, .* failed\. `prefd retry 1` takes it along"
    ):
        table.retry(third)
    assert states(table) == ["failed"] * 3


def test_a_job_of_another_home_is_retried_without_the_numbers_of_that_home(table: JobTable) -> None:
    first = add(table)
    copied = add(table, first)
    fail(table, first)
    with table.transaction():
        table._db.execute("UPDATE jobs SET origin = 'ANOTHER' WHERE id = ?", (copied,))
    job = table.retry(copied)
    assert (job.state, job.after, table.spec(copied).after) == ("queued", (), [])
    assert job.reason.endswith("; without `after`, which numbers jobs of the home that it came from")
    table.retry(first)
    assert look(table) == {}
