"""JobRemovals are the transactions that take jobs out of the database, and what is still to be deleted of them afterwards.

The commit is the moment at which a job is gone: before it, all of the job is there, and after it nobody finds it any more.
Its files are deleted afterwards, and are written down as pending until that is done, so that a crash in between leaves work
for the next start and never half a job (see `leftovers`). The removed job's number, name and end are kept: its number is not
given out again, and a job that was to run after it, where it was done, still may.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from prefd.daemon.errors import PrefdError
from prefd.daemon.jobs import rows
from prefd.daemon.jobs.database import explain_errors
from prefd.daemon.jobs.states import ENDED, UNENDED, State
from prefd.daemon.jobs.writer import JobWriter
from prefd.daemon.text.number_ranges import Numbers
from prefd.daemon.text.wording import list_numbers

IDS = "(SELECT value FROM json_each(?))"


class NotRemovable(PrefdError):
    """A job runs or waits, or another one still waits for it; each line names a job and the remedy."""

    http_status = 409


class Leftover(NamedTuple):
    """Leftover is a removed job whose files are still to be deleted."""

    job_id: int
    source: str
    """The claimed file that is to go with it; empty where other jobs were made of the same file."""


class JobRemovals(JobWriter):
    """Takes ended jobs out of the database."""

    def remove(self, job_ids: Sequence[int]) -> None:
        """Take these jobs out of the database, all of them or none. Raises JobNotFound, NotRemovable."""
        ids = json.dumps(list(job_ids))
        with self.transaction():
            self._refuse_unremovable(job_ids)
            now = time.time()
            self._db.execute(
                "INSERT INTO removed (id, name, state, source, at) "
                f"SELECT id, name, state, CASE owner WHEN 'daemon' THEN source ELSE '' END, ? FROM jobs WHERE id IN {IDS}",
                (now, ids),
            )
            self._db.execute(f"DELETE FROM history WHERE job_id IN {IDS}", (ids,))
            self._db.execute(
                "INSERT INTO history (job_id, at, state, reason) "
                f"SELECT id, at, 'removed', 'removed by you; it was ' || state FROM removed WHERE id IN {IDS} ORDER BY id",
                (ids,),
            )
            self._db.execute(f"DELETE FROM sizes WHERE job_id IN {IDS}", (ids,))
            self._db.execute(f"DELETE FROM jobs WHERE id IN {IDS}", (ids,))
            self.record_table()
            self._told |= set(job_ids)
        if self._records is not None:
            self._records.missing -= set(job_ids)

    def leftovers(self) -> list[Leftover]:
        """Return the removed jobs whose files are still to be deleted."""
        with explain_errors(self._path):
            cursor = self._db.execute(
                "SELECT id, CASE WHEN EXISTS (SELECT 1 FROM jobs WHERE jobs.source = removed.source) THEN '' ELSE source END "
                "FROM removed WHERE pending ORDER BY id"
            )
            return [Leftover(*row) for row in cursor]

    def forget_leftovers(self, job_ids: Sequence[int]) -> None:
        """Write down that the files of these removed jobs have been deleted."""
        if job_ids:
            with self.transaction():
                query = f"UPDATE removed SET pending = 0 WHERE id IN {IDS}"
                self._db.execute(query, (json.dumps(list(job_ids)),))

    def _refuse_unremovable(self, job_ids: Sequence[int]) -> None:
        """Raise where one of the jobs is not there, has not ended, or has not succeeded and another job waits for it."""
        ids = json.dumps(list(job_ids))
        states = dict(self._db.execute(f"SELECT id, state FROM jobs WHERE id IN {IDS}", (ids,)).fetchall())
        for job_id in job_ids:
            if job_id not in states:
                raise rows.make_not_found(self._db, job_id)
        lines = describe_unended(states)
        lacking = {job_id for job_id in job_ids if states[job_id] in ENDED and states[job_id] != "done"}
        for dependant, after in self._db.execute(
            f"SELECT id, after FROM jobs WHERE state NOT IN {tuple(ENDED)} AND after != '[]' ORDER BY id"
        ):
            if missed := sorted(lacking.intersection(json.loads(after))):
                lines.append(
                    f"{list_numbers(missed)}: job {dependant} is to run after it; `prefd edit {dependant} --after none` lets "
                    f"it run without, `prefd cancel {dependant}` calls it off"
                )
        if lines:
            raise NotRemovable(*lines)


def describe_unended(states: Mapping[int, State]) -> list[str]:
    """Say of each state of jobs that have not ended why these cannot be removed, and the remedy; none where all have."""
    lines = []
    for state in UNENDED:
        if unended := sorted(job_id for job_id in states if states[job_id] == state):
            jobs, them = list_numbers(unended), "it" if len(unended) == 1 else "them"
            numbers = Numbers(tuple(range(each, each + 1) for each in unended[:20]))
            lines.append(f"{jobs}: {state}, and only an ended job can be removed; `prefd cancel {numbers}` ends {them}")
    return lines
