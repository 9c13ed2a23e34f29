"""Followers are jobs that failed because a job that they were to run after had failed: a retry of that one takes them along."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prefd.daemon.jobs.job import Job
from prefd.daemon.jobs.states import FAILURES, State


def describe_failed_parents(job: Job, states: Mapping[int, State]) -> str:
    """Say which of the jobs that this one was to run after have failed; "" where none has. `states`: by id."""
    return ", and ".join(_describe(each, states[each]) for each in job.after if states.get(each) == "failed")


def is_follower(job: Job) -> bool:
    """Return whether the job failed because of a job that it was to run after, and not by itself."""
    if job.state != "failed" or job.origin:  # the numbers in one that was copied in are those of another home
        return False
    return any(job.reason.startswith(_describe(each, "failed")) for each in job.after)


def find_followers(failed: Iterable[Job], states: Mapping[int, State], retried: Sequence[int]) -> list[Job]:
    """Return those of the `failed` jobs that can go on now that the `retried` are queued again, and their own followers.

    `states`: of what these are to run after, by id, as before the retry. One whose other parents have failed too is left out.
    """
    waiting = {job.id: job for job in failed if is_follower(job)}
    lost = {job_id for job_id, state in states.items() if state == "failed"} - set(retried)
    followers: list[Job] = []
    queued = set(retried)
    pending = list(retried)
    while pending:
        parent = pending.pop(0)
        for job in [each for each in waiting.values() if parent in each.after and lost.isdisjoint(each.after)]:
            del waiting[job.id]
            lost.discard(job.id)
            if job.id not in queued:
                followers.append(job)
                queued.add(job.id)
            pending.append(job.id)
    return followers


def find_failed_roots(job: Job, failed: Mapping[int, Job]) -> list[int]:
    """Return the failed jobs, by `failed`, that this one could not run for: those that did not fail for another one."""
    roots: list[int] = []
    seen: set[int] = set()
    pending = list(job.after)
    while pending:
        each = pending.pop(0)
        if each not in failed or each in seen:
            continue
        seen.add(each)
        above = [parent for parent in failed[each].after if parent in failed] if is_follower(failed[each]) else []
        pending += above
        roots += [] if above else [each]
    return sorted(roots)


def _describe(job_id: int, state: State) -> str:
    return f"job {job_id}, which it was to run after, {FAILURES[state]}"
