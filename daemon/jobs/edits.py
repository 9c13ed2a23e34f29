"""Edits are the transactions that change what a waiting job is: its place in the queue, its name, and its spec.

A job can be edited as long as it is queued or paused. Whether an edit or the job's start comes first is decided by the order of
two transactions: `edit` refuses a job that has started, and `begin` starts none whose spec is no longer the one that was
prepared. So an edit that was accepted takes effect.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prefd.daemon.errors import PrefdError
from prefd.daemon.jobs import rows
from prefd.daemon.jobs.job import Job
from prefd.daemon.jobs.queries import serialize_spec
from prefd.daemon.jobs.states import FAILURES, UNENDED, WAITING
from prefd.daemon.jobs.writer import JobWriter
from prefd.daemon.text.wording import list_numbers
from prefd.plugins.dotted_settings import flatten

if TYPE_CHECKING:
    from prefd.daemon.specs.job_spec import JobSpec

SETTINGS = ("name", "group", "priority", "after", "not_before")
"""The keys of a spec that decide about its place in the queue and what it is called, and nothing of what it trains."""


class NotEditable(PrefdError):
    """The job cannot be edited, or not so; the message says what can be done instead."""

    http_status = 409


class Edits(JobWriter):
    """Changes the specs of jobs that wait."""

    def edit(self, job_id: int, spec: JobSpec, base: JobSpec | None = None) -> Job:
        """Give a queued or paused job another spec, which was validated. `base`: the spec that was edited.

        Raises JobNotFound, and NotEditable, also where the job's spec is no longer `base`.
        """
        with self.transaction():
            job = rows.find_job(self._db, job_id)
            refuse_uneditable(job)
            current = self.spec(job_id)
            if base is not None and current != base:
                raise NotEditable(
                    f"job {job_id} was edited by someone else meanwhile; nothing was changed: edit it again"
                )
            changes = list_changes(current, spec)
            if not changes:
                return job
            if changes.keys() - set(SETTINGS) and job.started_at is not None and not job.fresh:
                raise NotEditable(
                    f"job {job_id} has begun, and goes on with the spec that it began with: only its "
                    f"{', '.join(SETTINGS)} can be edited; to train with another spec, `prefd cancel {job_id}` and submit that"
                )
            self._refuse_after(job_id, spec.after, current.after)
            self._db.execute(
                "UPDATE jobs SET spec = ?, name = ?, job_group = ?, priority = ?, not_before = ?, after = ?, waiting = '' "
                "WHERE id = ?",
                (
                    serialize_spec(spec),
                    spec.name,
                    spec.group,
                    spec.priority,
                    spec.starts_at,
                    json.dumps(spec.after),
                    job_id,
                ),
            )
            reason = f"edited by you: {'; '.join(filter(None, changes.values()))}"
            self._db.execute("UPDATE jobs SET reason = ? WHERE id = ?", (reason, job_id))
            rows.insert_event(self._db, job_id, rows.choose_timestamp(self._db, job_id), job.state, reason)
            self._changed.add(job_id)
            return rows.find_job(self._db, job_id)

    def edit_settings(self, job_ids: Sequence[int], settings: Mapping[str, Any]) -> list[Job]:
        """Change the same keys of the specs of these jobs, of all or of none, and return the jobs. None takes a key out.

        Raises as `edit` does, and SpecError.
        """
        from prefd.daemon.specs.edited_spec import change_settings

        with self.transaction():
            for job_id in job_ids:
                refuse_uneditable(rows.find_job(self._db, job_id))
            return [self.edit(job_id, change_settings(self.spec(job_id), settings)) for job_id in job_ids]

    def is_as_prepared(self, job_id: int, spec: JobSpec) -> bool:
        """Return whether the job is queued, is not to be paused or cancelled, and has this spec, within the open transaction."""
        job = rows.find_job(self._db, job_id)
        return job.state == "queued" and not job.cancel_requested and self.spec(job_id) == spec

    def _refuse_after(self, job_id: int, after: Sequence[int], before: Sequence[int]) -> None:
        """Raise where a job that this one is to run after is not there, has not succeeded, or waits for this one.

        `before`: those that it was to run after already, of which nothing is asked: it is held for one that was cancelled.
        """
        states = self.states(after)
        for each in after:
            if each == job_id:
                raise NotEditable(f"after: job {job_id} cannot run after itself")
            if each in before:
                continue
            if each not in states:
                raise rows.make_not_found(self._db, each)
            if states[each] in FAILURES:
                raise NotEditable(
                    f"after: job {each} is {states[each]}, so job {job_id} would wait for nothing; `prefd retry {each}` first"
                )
        waits_for = {job.id: job.after for job in rows.list_in_states(self._db, UNENDED)} | {job_id: tuple(after)}
        if circle := find_circle(job_id, waits_for):
            raise NotEditable(f"after: jobs {' → '.join(map(str, circle))} would wait for each other in a circle")


def refuse_uneditable(job: Job) -> None:
    """Raise NotEditable for a job that runs, has ended, or is one of `prefd run`."""
    if job.owner != "daemon" and not job.ended:
        raise NotEditable(f"job {job.id} is run by `prefd run` ({job.owner}): end it there, with Ctrl-C")
    if job.ended:
        raise NotEditable(
            f"job {job.id} has ended ({job.state}): submit an edited spec, or `prefd retry {job.id}` this one"
        )
    if job.state not in WAITING:
        raise NotEditable(
            f"job {job.id} is {job.state}: only a queued or paused job can be edited; `prefd pause {job.id}` pauses it"
        )
    if job.cancel_requested:
        raise NotEditable(f"job {job.id} is about to be cancelled")


def list_changes(before: JobSpec, after: JobSpec) -> dict[str, str]:
    """Describe each difference between two specs, by the setting's key at the top."""
    old, new = (dict(flatten(spec.model_dump(mode="json"))) for spec in (before, after))
    written = {
        place for spec in (before, after) for place, _ in flatten(spec.model_dump(mode="json", exclude_unset=True))
    }
    changes: dict[str, list[str]] = {}
    for place in dict.fromkeys([*old, *new]):
        if old.get(place) != new.get(place):
            lines = changes.setdefault(place.partition(".")[0], [])
            if place in written:  # and not one of the defaults that came or went with it
                lines.append(f"{place} {_format(old.get(place))} → {_format(new.get(place))}")
    return {key: ", ".join(each) for key, each in changes.items()}


def find_circle(start: int, waits_for: Mapping[int, Sequence[int]]) -> list[int]:
    """Return the jobs, from `start` back to it, that would wait for each other in a circle; none where there is none."""
    pending = [[start]]
    seen: set[int] = set()
    while pending:
        path = pending.pop()
        for each in waits_for.get(path[-1], ()):
            if each == start:
                return [*path, start]
            if each not in seen:
                seen.add(each)
                pending.append([*path, each])
    return []


def _format(value: Any) -> str:
    if value in (None, "", [], {}):
        return "none"
    if isinstance(value, list) and all(isinstance(each, int) for each in value):
        return list_numbers(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"
