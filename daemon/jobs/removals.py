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
from pathlib import Path
from typing import NamedTuple

from prefd.daemon.errors import PrefdError
from prefd.daemon.jobs import rows
from prefd.daemon.jobs.database import IN_MEMORY, explain_errors
from prefd.daemon.jobs.states import ENDED, UNENDED, State
from prefd.daemon.jobs.writer import JobWriter
from prefd.daemon.runs.run_identity import RunIdentity, find_stranger
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
            self.refuse_unremovable(job_ids)
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

    def refuse_unremovable(self, job_ids: Sequence[int]) -> None:
        """Raise where one of the jobs is not there or has not ended, where another job waits for it, or for files in its folder.

        Another job waits only for one that has not succeeded. The files are another job's.
        """
        ids = json.dumps(list(job_ids))
        jobs = self._db.execute(f"SELECT id, state, ulid FROM jobs WHERE id IN {IDS}", (ids,)).fetchall()
        states = {job_id: state for job_id, state, _ in jobs}
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
        lines += self._describe_foreign_folders({job_id: ulid for job_id, _, ulid in jobs})
        if lines:
            raise NotRemovable(*lines)

    def _describe_foreign_folders(self, ulids: Mapping[int, str]) -> list[str]:
        """Say of each job in whose folder files of another job are that these would be deleted with it, and the remedy."""
        if self._path == IN_MEMORY:
            return []
        runs = self._path.parent / "runs"
        strangers = {job_id: find_stranger(runs / str(job_id), ulid) for job_id, ulid in ulids.items() if ulid}
        return [
            f"job {job_id}: {describe_foreign_folder(runs / str(job_id), stranger)}; move the folder out of {runs} first"
            for job_id, stranger in sorted(strangers.items())
            if stranger is not None
        ]


def describe_foreign_folder(folder: Path, stranger: RunIdentity) -> str:
    """Say that files of another job are in a job's folder, for which it is not deleted."""
    return f"its folder {folder} holds files of another job, {stranger.describe()}, which are not deleted with it"


def describe_unended(states: Mapping[int, State]) -> list[str]:
    """Say of each state of jobs that have not ended why these cannot be removed, and the remedy; none where all have."""
    lines = []
    for state in UNENDED:
        if unended := sorted(job_id for job_id in states if states[job_id] == state):
            jobs, them = list_numbers(unended), "it" if len(unended) == 1 else "them"
            numbers = Numbers(tuple(range(each, each + 1) for each in unended[:20]))
            lines.append(f"{jobs}: {state}, and only an ended job can be removed; `prefd cancel {numbers}` ends {them}")
    return lines
