"""`plan_cleaning` decides what `prefd clean` deletes, and CleanPlan is the decision: `--dry-run` prints it, `execute` does it.

What is chosen is a matter of rules (`OlderThan`, `Keep`), each of which says of a list of ended jobs which may go; a job goes
where all of them let it. The plan touches nothing. When it is carried out, each step is checked again within its own
transaction, so what has changed meanwhile is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from prefd.daemon.jobs.job import Brief
from prefd.daemon.jobs.removals import describe_foreign_folder
from prefd.daemon.jobs.states import State
from prefd.daemon.runs.disk_usage import RunSize, measure_run
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.run_identity import find_stranger

Part = Literal["job", "checkpoints", "fused"]
"""What of a job is deleted: all of it, or one folder."""


class Rule(Protocol):
    """A rule says which of the ended jobs, oldest end first, may go."""

    def choose(self, jobs: Sequence[Brief], now: float) -> set[int]:
        """Return the ids of those that may go. `now`: Unix time."""
        ...


@dataclass(frozen=True)
class OlderThan:
    """Jobs that ended more than so many seconds ago may go."""

    seconds: float

    def choose(self, jobs: Sequence[Brief], now: float) -> set[int]:
        """Return the jobs that ended so long ago."""
        return {job.id for job in jobs if job.finished_at is not None and job.finished_at < now - self.seconds}


@dataclass(frozen=True)
class Keep:
    """Keep lets all go but the so many jobs that ended last."""

    count: int

    def choose(self, jobs: Sequence[Brief], now: float) -> set[int]:
        """Return all but the last."""
        return {job.id for job in jobs[: max(len(jobs) - self.count, 0)]}


@dataclass(frozen=True)
class Step:
    """Step is one thing that is deleted, and what it takes on disk."""

    job: Brief
    part: Part
    bytes: int


@dataclass(frozen=True)
class CleanPlan:
    """CleanPlan says what is to be deleted, and which of the chosen jobs stay, and why."""

    steps: Sequence[Step]
    kept: Mapping[int, str]

    @property
    def bytes(self) -> int:
        """Say what all steps together free."""
        return sum(step.bytes for step in self.steps)

    def execute(self, remove: Callable[[Sequence[int]], None], discard: Callable[[Part, Sequence[int]], None]) -> None:
        """Do the steps: `remove` takes whole jobs, `discard` a part of each of several jobs."""
        for part in ("checkpoints", "fused"):
            if job_ids := [step.job.id for step in self.steps if step.part == part]:
                discard(part, job_ids)
        if job_ids := [step.job.id for step in self.steps if step.part == "job"]:
            remove(job_ids)


def plan_cleaning(
    jobs: Sequence[Brief],
    rules: Sequence[Rule],
    parts: Sequence[Part],
    measure: Callable[[Brief], RunSize],
    dependents: Mapping[int, int],
    now: float,
    states: Sequence[State] = (),
    find_foreign: Callable[[Brief], str] = lambda _: "",
) -> CleanPlan:
    """Decide what goes of `jobs`. `parts`: folders instead of whole jobs; `dependents`: job → the one that is to run after it.

    `measure`: says what a job's folder takes. `states`: only jobs that ended so; checkpoints are
    otherwise those of jobs that are done, since a failed or cancelled one goes on from its last when it is retried.
    `find_foreign`: says whose files are in a job's folder besides its own, for which it stays.
    """
    ended = sorted((job for job in jobs if job.ended), key=lambda job: (job.finished_at or 0.0, job.id))
    chosen = set.intersection({job.id for job in ended}, *(rule.choose(ended, now) for rule in rules))
    steps: list[Step] = []
    stay_reasons: dict[int, str] = {}
    for job in ended:
        if job.id not in chosen or (states and job.state not in states):
            continue
        if not parts and (need := explain_need(job, dependents)):
            stay_reasons[job.id] = need
            continue
        size = measure(job)
        its_steps = [] if parts else [Step(job, "job", size.bytes)]
        for part in parts:
            part_bytes: int = getattr(size, part)
            if part_bytes and (part != "checkpoints" or states or job.state == "done"):
                its_steps.append(Step(job, part, part_bytes))
        if its_steps and (foreign := find_foreign(job)):
            stay_reasons[job.id] = foreign
            continue
        steps += its_steps
    return CleanPlan(steps, stay_reasons)


def measure_job(runs: Path, job: Brief) -> RunSize:
    """Say what a job's folder takes: as it was found when the job ended, unless a GGUF file may have been written since."""
    run = RunDir(runs / str(job.id))
    if job.bytes is None or run.gguf.is_dir():
        return measure_run(run)
    return RunSize(job.bytes, job.checkpoints or 0, job.fused or 0)


def explain_need(job: Brief, dependents: Mapping[int, int]) -> str:
    """Say which job still waits for this one, for which it stays; empty where none does."""
    waits = job.state != "done" and job.id in dependents
    return f"job {dependents[job.id]} is to run after it" if waits else ""


def explain_foreign_files(runs: Path, job: Brief) -> str:
    """Say whose files are in the folder of an ended job besides its own, for which it stays; empty where there are none."""
    folder = runs / str(job.id)
    stranger = find_stranger(folder, job.ulid) if job.ulid else None
    return "" if stranger is None else describe_foreign_folder(folder, stranger)


def describe_plan(plan: CleanPlan) -> dict[str, Any]:
    """Describe the plan as `--json` prints it."""
    return {
        "deleted": [
            {"job": step.job.id, "name": step.job.name, "state": step.job.state, "part": step.part, "bytes": step.bytes}
            for step in plan.steps
        ],
        "bytes": plan.bytes,
        "kept": [{"job": job_id, "reason": reason} for job_id, reason in plan.kept.items()],
    }
