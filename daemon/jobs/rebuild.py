"""A job database that cannot be read is set aside, whole as it is, and rebuilt from what the jobs' folders say.

The new one is made beside it first. Then the old files are renamed, and then the new one: a crash between leaves a
finished database that the next start puts in its place.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.recovery_records import Record, Records
from prefd.daemon.jobs.states import ENDED, PHASE_OF, State
from prefd.daemon.jobs.table import JobTable, Unreadable
from prefd.daemon.machine.files import sync_folder
from prefd.daemon.runs.phase_outcomes import Outcome
from prefd.daemon.runs.phases import PHASES, Phase
from prefd.daemon.runs.run_folder import SPEC, RunDir

log = logging.getLogger(__name__)

SUFFIXES = ("-wal", "-shm", "")
"""The database's own file last: while it is there, all is not yet set aside."""
UNKNOWN = "; its folder does not say how it ended: `prefd resume` lets it go on, `prefd cancel` does not"


def open_table(home: Home) -> JobTable:
    """The home's job table, checked, and rebuilt where it cannot be read. The home's lock is held by the caller.

    Raises JobTableError for what no rebuilding mends: a newer schema, a database that may not be opened, a full disk.
    """
    made = home.database.with_name(f"{home.database.name}.rebuilt")
    if made.exists():
        put_in_place(home.database, made)
    try:
        table = _open_checked(home)
    except Unreadable as error:
        log.error("%s", error)
        rebuild(home, error.why)
        table = _open_checked(home)
    table.write_records()
    return table


def mend(home: Home, table: JobTable, why: str) -> None:
    """As `open_table`, for a database that became unreadable while `table` was open."""
    rebuild(home, why)
    table.reopen()
    table.write_records()


def _open_checked(home: Home) -> JobTable:
    with JobTable.open_readonly(
        home.database
    ) as table:  # whose closing changes no file, a damaged one's log least of all
        table.check()
    return JobTable.open(home.database)


def rebuild(home: Home, why: str) -> None:
    """Make the database again from `runs/`, and set what there was aside."""
    records = Records(home.runs)
    aside = _unused(home.database)
    said = f"rebuilt from runs/, for the database could not be read ({why})"
    last_id, paused_at = records.read_table()
    rows = [record for job_id in records.ids() if (record := _record(home, records, job_id, said)) is not None]
    last_id = max([last_id, _last_id_of(home.database), *records.ids(), *(int(record.row["id"]) for record in rows)])
    beside = home.database.with_name(f"{home.database.name}.rebuilding")
    for suffix in SUFFIXES:
        Path(f"{beside}{suffix}").unlink(missing_ok=True)
    JobTable.create(beside, rows, last_id, paused_at)
    made = home.database.with_name(f"{home.database.name}.rebuilt")
    beside.rename(made)
    put_in_place(home.database, made, aside)
    log.warning("%s: %d jobs %s; what there was is kept as %s", home.database, len(rows), said, aside.name)


def put_in_place(database: Path, made: Path, aside: Path | None = None) -> None:
    """Set aside what is called `database`, over nothing, and give `made` that name."""
    aside = aside or _unused(database)
    for suffix in SUFFIXES:
        with suppress(FileNotFoundError):
            os.rename(f"{database}{suffix}", f"{aside}{suffix}")
    made.rename(database)
    sync_folder(database.parent)


def _unused(database: Path) -> Path:
    stem = f"{database.name}.unreadable-{datetime.now():%Y%m%dT%H%M%S}"
    names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, 10_000))
    taken = {path.name for path in database.parent.iterdir()}
    return database.with_name(
        next(name for name in names if not any(f"{name}{suffix}" in taken for suffix in SUFFIXES))
    )


def _last_id_of(database: Path) -> int:
    """The last number that the old database gave, where that much of it can be read."""
    try:
        uri = f"{database.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as db:
            return int(db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'").fetchone()[0])
    except (sqlite3.Error, TypeError, ValueError):
        return 0


def _record(home: Home, records: Records, job_id: int, said: str) -> Record | None:
    """What a job's folder knows of it, with a line of history that says `said`."""
    run = RunDir(home.job(job_id))
    record = records.read(job_id)
    if record is None:
        record = _from_results(run, job_id)
        said += UNKNOWN if record is not None and record.row["state"] == "paused" else ""
    if record is None:
        message = "job %d: %s holds no spec that can be read; its number stays taken"
        log.warning(message, job_id, run.root, extra={"job": job_id})
        return None
    return _said(_ended(record, run), said)


def _said(record: Record, said: str) -> Record:
    """With `said` as its reason and a line of history. A job that has ended keeps its reason, and does not end again."""
    if record.row["state"] in ENDED:
        return record
    row = record.row | {"reason": said}
    return Record(row, [*record.history, (None, time.time(), row["state"], said)])


def _ended(record: Record, run: RunDir) -> Record:
    """A job that had ended and whose record says that it still ran: its last outcome is its end."""
    phase = PHASE_OF.get(record.row["state"])
    outcome = run.outcome(phase) if phase else None
    if outcome is None or (outcome.ok and phase != _last_phase(json.loads(record.row["spec"]))):
        return record
    state, reason = _end(outcome)
    row = record.row | {"state": state, "reason": reason, "finished_at": time.time(), "worker_pid": None}
    return Record(row, [*record.history, (None, row["finished_at"], state, reason)])


def _end(outcome: Outcome) -> tuple[State, str]:
    return "done" if outcome.ok else "failed", outcome.describe()


def _last_phase(spec: dict[str, Any]) -> Phase:
    return "training" if spec.get("training") else "precompute"


def _from_results(run: RunDir, job_id: int) -> Record | None:
    """A job without a record, from its spec and its outcomes. None where there is no spec."""
    frozen = run.read_frozen()
    if frozen is None:
        return None
    spec = frozen["spec"]
    outcomes: list[Outcome | None] = [run.outcome(phase) for phase in PHASES]
    last = run.outcome(_last_phase(spec))
    ends = [_end(each) for each in outcomes if each is not None and (not each.ok or each == last)]
    state, reason = ends[-1] if ends else ("paused", "")
    begun = run.spec.stat().st_mtime
    row = {
        "id": job_id,
        "name": spec.get("name", ""),
        "state": state,
        "reason": reason,
        "source": f"runs/{job_id}/{SPEC}",
        "owner": "daemon",
        "spec": json.dumps(spec),
        "created_at": begun,
        "job_group": spec.get("group", ""),
        "priority": spec.get("priority", 0),
        "after": json.dumps(spec.get("after", [])),
    }
    return Record(row, [(None, begun, state, reason)])
