"""`take_turns` decides which queued jobs start now, and says why the others wait. It is a pure function.

The higher priority goes first, and among equals the one that was handed in first. A job that runs is never stopped for
one of higher priority: it would lose the time that loading its model took.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from prefd.daemon.jobs.followers import describe_failed_parents
from prefd.daemon.jobs.job import NOT_BEFORE
from prefd.daemon.jobs.states import FAILURES, State
from prefd.daemon.jobs.table import QUEUE_PAUSED, Job
from prefd.daemon.text.times import format_moment

LOST = ("cancelled",)
"""The ends of a job that hold those which are to run after it: you may run it again, or hand in another in its place."""


@dataclass(frozen=True)
class Limits:
    """Limits says how many jobs run at a time."""

    together: int = 1
    groups: Mapping[str, int] = field(default_factory=dict)
    """How many jobs of a group run at a time, by its name; a group that is not here has no limit of its own."""


@dataclass
class Turns:
    """Turns holds the decision on each of the queued jobs."""

    start: list[Job] = field(default_factory=list)
    waiting: dict[int, str] = field(default_factory=dict)
    """Why a job does not start, "" where it is only not its turn."""
    failed: dict[int, str] = field(default_factory=dict)
    """Why a job never will."""


def take_turns(
    queued: Sequence[Job],
    running: Sequence[Job],
    states: Mapping[int, State],
    limits: Limits,
    now: float,
    *,
    paused: bool = False,
    trouble: str | None = None,
    held: Callable[[Job], str | None] = lambda _: None,
    scores_with: Callable[[Job], Hashable | None] = lambda _: None,
) -> Turns:
    """Decide on each of `queued`.

    `states`: those of the jobs that others run after. `now`: Unix time. `paused`: the queue is. `trouble`: what
    all jobs wait for. `held`: what one job waits for that is next otherwise. `scores_with`: which
    reference a queued or precomputing job scores with, None where it scores nothing: of two that may miss the same
    entries, the second waits until the first has scored them.
    """
    turns = Turns()
    active = list(running)
    scoring = {scores_with(job): job.id for job in active if job.state != "training"}
    scoring.pop(None, None)
    for job in sorted(queued, key=lambda each: (-each.priority, each.id)):
        if failure := describe_failed_parents(job, states):
            turns.failed[job.id] = failure
            continue
        hold = trouble or _describe_hold(job, states, now)
        pause = (f"{QUEUE_PAUSED}; {hold}" if hold else QUEUE_PAUSED) if paused else None
        reason = pause or hold or _describe_lack_of_room(job, active, limits)
        if reason is None and (reference := scores_with(job)) is not None:
            first = scoring.setdefault(reference, job.id)
            reason = None if first == job.id else f"waits for job {first} to score with the same reference"
        if reason is None:
            reason = held(job)
        if reason is None:
            turns.start.append(job)
            active.append(job)
        else:
            turns.waiting[job.id] = reason
    return turns


def _describe_hold(job: Job, states: Mapping[int, State], now: float) -> str | None:
    """Say what the job waits for before it may start at all; None where it waits for nothing."""
    if lost := [job_id for job_id in job.after if states.get(job_id, "removed") in ("removed", *LOST)]:
        return _describe_lost(job, lost, states)
    if job.not_before is not None and job.not_before > now:
        return f"{NOT_BEFORE}{format_moment(job.not_before)}"
    unfinished = [job_id for job_id in job.after if states.get(job_id) != "done"]
    return f"waits for {_list_jobs(unfinished, states)}" if unfinished else None


def _describe_lost(job: Job, lost: Sequence[int], states: Mapping[int, State]) -> str:
    """Say that the job is held for others that were cancelled or removed, and what lets it go on."""
    cancelled = [job_id for job_id in lost if job_id in states]
    causes = [f"job {job_id}, which it is to run after, {FAILURES[states[job_id]]}" for job_id in cancelled]
    causes += [f"job {job_id}, which it is to run after, is not there" for job_id in lost if job_id not in states]
    remedies = [f"`prefd retry {' '.join(map(str, cancelled))}`"] if cancelled else []
    remedies += [f"`prefd edit {job.id} --after ID` for another, or `--after none`"]
    return f"held: {', and '.join(causes)}: {', '.join(remedies)}"


def _describe_lack_of_room(job: Job, active: Sequence[Job], limits: Limits) -> str | None:
    """Say why there is no room for the job, "" where others are simply before it; None where there is room."""
    if any(each.place == job.place for each in active):  # its client's session has its place already
        return None
    if len({each.place for each in active}) >= limits.together:
        return ""
    fellows = [each.id for each in active if each.group == job.group]
    most = limits.groups.get(job.group)
    if most is None or len({each.place for each in active if each.group == job.group}) < most:
        return None
    return f"waits for {_list_jobs(fellows)}: group {job.group} runs {most} at a time"


def _list_jobs(jobs: Collection[int], states: Mapping[int, State] | None = None) -> str:
    """List jobs in words: `job 3`, or `jobs 3, 5 (paused) and 6`."""
    numbers = [f"{job_id} (paused)" if states and states.get(job_id) == "paused" else str(job_id) for job_id in jobs]
    return f"job {numbers[0]}" if len(numbers) == 1 else f"jobs {', '.join(numbers[:-1])} and {numbers[-1]}"
