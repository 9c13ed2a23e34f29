"""Whose turn it is: which queued jobs start now, and why the others do not, in words. Pure.

The higher priority goes first, and among equals the one that was handed in first. A job that runs is never stopped for
one of higher priority: it would lose the time that loading its model took.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from prefd.daemon.jobs.states import FAILURES, State
from prefd.daemon.jobs.table import QUEUE_PAUSED, Job
from prefd.daemon.text.times import shown_moment


@dataclass(frozen=True)
class Limits:
    """How many jobs run at a time."""

    together: int = 1
    groups: Mapping[str, int] = field(default_factory=dict)
    """And how many of a group, where that is said."""


@dataclass
class Turns:
    """What is to become of the queued jobs."""

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
    scores_with: Callable[[Job], Hashable | None] = lambda _: None,
) -> Turns:
    """Decide on each of `queued`.

    `states`: those of the jobs that others run after. `now`: Unix time. `paused`: the queue is. `scores_with`: which
    reference a queued or precomputing job scores with, None where it scores nothing: of two that may miss the same
    entries, the second waits until the first has scored them.
    """
    turns = Turns()
    active = list(running)
    scoring = {scores_with(job): job.id for job in active if job.state != "training"}
    scoring.pop(None, None)
    for job in sorted(queued, key=lambda each: (-each.priority, each.id)):
        if lost := _lost(job, states):
            turns.failed[job.id] = lost
            continue
        said = QUEUE_PAUSED if paused else _held(job, states, now) or _full(job, active, limits)
        if said is None and (reference := scores_with(job)) is not None:
            first = scoring.setdefault(reference, job.id)
            said = None if first == job.id else f"waits for job {first} to score with the same reference"
        if said is None:
            turns.start.append(job)
            active.append(job)
        else:
            turns.waiting[job.id] = said
    return turns


def _lost(job: Job, states: Mapping[int, State]) -> str | None:
    found = {each: FAILURES.get(states[each]) if each in states else "is not there" for each in job.after}
    return ", and ".join(f"job {each}, which it was to run after, {how}" for each, how in found.items() if how) or None


def _held(job: Job, states: Mapping[int, State], now: float) -> str | None:
    """What has to happen before it may start at all."""
    if job.not_before is not None and job.not_before > now:
        return f"not before {shown_moment(job.not_before)}"
    before = [each for each in job.after if states.get(each) != "done"]
    return f"waits for {_numbers(before, states)}" if before else None


def _full(job: Job, active: Sequence[Job], limits: Limits) -> str | None:
    """Whether its place is taken."""
    if len(active) >= limits.together:
        return ""
    fellows = [each.id for each in active if each.group == job.group]
    most = limits.groups.get(job.group)
    if most is None or len(fellows) < most:
        return None
    return f"waits for {_numbers(fellows)}: group {job.group} runs {most} at a time"


def _numbers(jobs: Collection[int], states: Mapping[int, State] | None = None) -> str:
    """`job 3`, or `jobs 3, 5 (paused) and 6`."""
    told = [f"{each} (paused)" if states and states.get(each) == "paused" else str(each) for each in jobs]
    return f"job {told[0]}" if len(told) == 1 else f"jobs {', '.join(told[:-1])} and {told[-1]}"
