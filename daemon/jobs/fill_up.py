"""`fill_up` tells a database at the daemon's start what `runs/` knows and it does not, because it is an older one, or a part.

A backup of a live home that leaves out `prefd.sqlite3-wal`, or an older database that is put back, knows fewer jobs than have
folders, or knows them in an earlier state. What had ended stays ended. A folder that was copied in from another home is
listed as a job that has ended, whatever it was there.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from prefd.daemon.home.layout import Home
from prefd.daemon.inbox.claimed_file import is_broken_off
from prefd.daemon.jobs.job import Job
from prefd.daemon.jobs.recovery import recover_record
from prefd.daemon.jobs.recovery_records import Record, Records
from prefd.daemon.jobs.states import ENDED, UNENDED
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.text.wording import pluralize

log = logging.getLogger(__name__)

UNKNOWN_JOB = "filled up from runs/: the database did not know it"
MOST_NAMED = 10


def fill_up(home: Home, table: JobTable, own: Collection[str]) -> None:
    """Bring the database up to what the jobs' folders say, and note in `table.notes` what that was. Raises JobTableError.

    `own`: the ids of this home.
    """
    records = Records(home.runs)
    unknown = _list_unknown(home, table, records, own)
    ahead = _list_ahead(table, records, own)
    table.restore([*unknown, *ahead], records.read_table()[0])
    ours = [record for record in unknown if not record.row["origin"]]
    foreign = [record for record in unknown if record.row["origin"]]
    cause = "is it an older one, or was its -wal left out of a backup?"
    if ours:
        _note(table, f"the database did not know {_name(ours)} in runs/, and was filled up from there: {cause}")
    if ahead:
        _note(table, f"the database had {_name(ahead)} in an earlier state than runs/, which counts: {cause}")
    if foreign:
        _note(
            table,
            f"{_name(foreign)} in runs/ came from another home: listed as ended here, and run only by `prefd retry`",
        )


def _list_unknown(home: Home, table: JobTable, records: Records, own: Collection[str]) -> list[Record]:
    """Return the records of the folders whose number the database does not know."""
    ulid_of_job = {job.id: job.ulid for job in table.list()}
    ulids = {ulid: job_id for job_id, ulid in ulid_of_job.items()}
    unknown, ends = [], records.read_ends()
    for job_id in records.ids():
        if job_id in ulid_of_job:
            continue
        record = recover_record(home, records, job_id, UNKNOWN_JOB, own, ends.get(job_id))
        if record is None:
            continue
        source, ulid = str(record.row.get("source", "")), str(record.row.get("ulid", ""))
        if is_broken_off(home, source):
            continue  # a claim that broke off before its jobs were in the database: it makes them again
        if ulid and ulid in ulids:
            _note(table, f"runs/{job_id} is a copy of the folder of job {ulids[ulid]}: it is left as it is")
            continue
        ulids[ulid] = job_id
        unknown.append(record._replace(row={"origin": ""} | record.row | {"id": job_id}))
    return unknown


def _list_ahead(table: JobTable, records: Records, own: Collection[str]) -> list[Record]:
    """Return the records of jobs that had ended, and have not in the database."""
    ahead = []
    for job in table.list(*UNENDED):
        record = records.read(job.id)
        if record is None or not (record.home in own or not record.home) or not _is_of(record, job):
            continue
        before = [tuple(event) for event in table.history(job.id)]
        after = [line[1:] for line in record.history]
        if record.row["state"] in ENDED and len(after) > len(before) and after[: len(before)] == before:
            lines: list[tuple[int | None, float, str, str]] = []
            lines += [(None, *line[1:]) for line in record.history[len(before) :]]
            ahead.append(record._replace(row=record.row | {"ulid": job.ulid}, history=lines))
    return ahead


def _is_of(record: Record, job: Job) -> bool:
    """Return whether the record is of this very job; without a ULID, as in an earlier version's, its claim decides."""
    if ulid := record.row.get("ulid"):
        return bool(ulid == job.ulid)
    return (record.row.get("source"), record.row.get("created_at")) == (job.source, job.created_at)


def _name(records: Sequence[Record]) -> str:
    """Name jobs in words: `1 job (7)`."""
    numbers = [str(record.row["id"]) for record in records]
    more = ", …" if len(numbers) > MOST_NAMED else ""
    return f"{pluralize(len(numbers), 'job')} ({', '.join(numbers[:MOST_NAMED])}{more})"


def _note(table: JobTable, note: str) -> None:
    table.notes.append(note)
    log.warning("%s", note)
