"""`rebuild` sets a job database that cannot be read aside, and makes a new one from the records in the jobs' folders.

The new database is made beside the old one first. Then the old files are renamed, and then the new one: a crash between
leaves a finished database that the next start puts in its place.
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
from prefd.daemon.jobs.leftovers import hide_removals
from prefd.daemon.jobs.recovery_records import End, Record, Records
from prefd.daemon.jobs.settling import settle_home
from prefd.daemon.jobs.states import ENDED, PHASE_OF, State
from prefd.daemon.jobs.table import JobTable, Unreadable
from prefd.daemon.machine.files import sync_folder
from prefd.daemon.runs.phase_outcomes import Outcome
from prefd.daemon.runs.phases import PHASES, Phase
from prefd.daemon.runs.run_folder import SPEC, RunDir

log = logging.getLogger(__name__)

SUFFIXES = ("-wal", "-shm", "")
"""The suffixes of the database's files. Its own comes last: while it is there, not all files are set aside."""
UNKNOWN = "; its folder does not say how it ended: `prefd resume` lets it go on, `prefd cancel` does not"


def open_table(home: Home) -> JobTable:
    """Open the home's job table, checked, and rebuilt where it cannot be read. The caller holds the home's lock.

    Raises JobTableError for what no rebuilding mends: a newer schema, a database that may not be opened, a full disk.
    """
    rebuilt = home.database.with_name(f"{home.database.name}.rebuilt")
    if rebuilt.exists():
        put_in_place(home.database, rebuilt)
    try:
        table = _open_settled(home)
    except Unreadable as error:
        log.error("%s", error)
        rebuild(home, error.why)
        table = _open_settled(home)
    table.write_records()
    return table


def mend(home: Home, table: JobTable, problem: str) -> None:
    """Rebuild a database that became unreadable while `table` was open, and reopen `table`. Raises JobTableError."""
    rebuild(home, problem)
    table.reopen()
    settle_home(home, table)
    table.write_records()


def _open_settled(home: Home) -> JobTable:
    """Open the home's job table, whole and this home's own. Raises JobTableError."""
    table = _open_checked(home)
    try:
        settle_home(home, table)
        hide_removals(home, table)  # before anything in runs/ is taken for a job
    except BaseException:
        table.close()
        raise
    return table


def _open_checked(home: Home) -> JobTable:
    with JobTable.open_readonly(
        home.database
    ) as table:  # whose closing changes no file, a damaged one's log least of all
        table.check()
    return JobTable.open(home.database)


def rebuild(home: Home, problem: str) -> None:
    """Make a new database from the jobs' folders, and set the old one aside. `problem`: what is wrong with the old one."""
    records = Records(home.runs)
    aside = _choose_unused_name(home.database)
    reason = f"rebuilt from runs/, for the database could not be read ({problem})"
    last_id, paused_at = records.read_table()
    ends = records.read_ends()
    rows = [
        record
        for job_id in records.ids()
        if (record := _recover_record(home, records, job_id, reason, ends.get(job_id))) is not None
    ]
    last_id = max([last_id, _read_last_id(home.database), *records.ids(), *(int(record.row["id"]) for record in rows)])
    beside = home.database.with_name(f"{home.database.name}.rebuilding")
    for suffix in SUFFIXES:
        Path(f"{beside}{suffix}").unlink(missing_ok=True)
    JobTable.create(beside, rows, last_id, paused_at)
    rebuilt = home.database.with_name(f"{home.database.name}.rebuilt")
    beside.rename(rebuilt)
    put_in_place(home.database, rebuilt, aside)
    log.warning("%s: %d jobs %s; what there was is kept as %s", home.database, len(rows), reason, aside.name)


def put_in_place(database: Path, rebuilt: Path, aside: Path | None = None) -> None:
    """Rename `database` to `aside`, a name that is not in use, and `rebuilt` to `database`."""
    aside = aside or _choose_unused_name(database)
    for suffix in SUFFIXES:
        with suppress(FileNotFoundError):
            os.rename(f"{database}{suffix}", f"{aside}{suffix}")
    rebuilt.rename(database)
    sync_folder(database.parent)


def _choose_unused_name(database: Path) -> Path:
    stem = f"{database.name}.unreadable-{datetime.now():%Y%m%dT%H%M%S}"
    names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, 10_000))
    file_names = {path.name for path in database.parent.iterdir()}
    return database.with_name(
        next(name for name in names if not any(f"{name}{suffix}" in file_names for suffix in SUFFIXES))
    )


def _read_last_id(database: Path) -> int:
    """Return the last number that the old database gave to a job; 0 where that cannot be read."""
    try:
        uri = f"{database.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as db:
            return int(db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'").fetchone()[0])
    except (sqlite3.Error, TypeError, ValueError):
        return 0


def _recover_record(home: Home, records: Records, job_id: int, reason: str, end: End | None) -> Record | None:
    """Return a job's record from its folder, with a line of history for `reason`; None where the folder has no spec."""
    run = RunDir(home.job(job_id))
    record = records.read(job_id)
    if record is None:
        record = _record_from_results(run, job_id)
        reason += UNKNOWN if record is not None and record.row["state"] == "paused" else ""
    if record is None:
        message = "job %d: %s holds no spec that can be read; its number stays taken"
        log.warning(message, job_id, run.root, extra={"job": job_id})
        return None
    return _add_reason(_add_end(_add_known_end(record, end), run), reason)


def _add_known_end(record: Record, end: End | None) -> Record:
    """End a job that was cancelled with many others, where its own record does not say so yet."""
    if end is None or record.row["state"] in ENDED or record.history[-1][1] > end[2]:
        return record
    state, reason, timestamp = end
    row = record.row | {"state": state, "reason": reason, "finished_at": timestamp, "worker_pid": None, "waiting": ""}
    return Record(row, [*record.history, (None, timestamp, state, reason)])


def _add_reason(record: Record, reason: str) -> Record:
    """Give a job that has not ended `reason`, and a line of history for it. A job that has ended stays as it is."""
    if record.row["state"] in ENDED:
        return record
    row = record.row | {"reason": reason}
    return Record(row, [*record.history, (None, time.time(), row["state"], reason)])


def _add_end(record: Record, run: RunDir) -> Record:
    """End a job whose record says that it runs, where its last outcome says how it ended."""
    phase = PHASE_OF.get(record.row["state"])
    outcome = run.outcome(phase) if phase else None
    if outcome is None or (outcome.ok and phase != _last_phase(json.loads(record.row["spec"]))):
        return record
    state, reason = _decide_end(outcome)
    row = record.row | {"state": state, "reason": reason, "finished_at": time.time(), "worker_pid": None}
    return Record(row, [*record.history, (None, row["finished_at"], state, reason)])


def _decide_end(outcome: Outcome) -> tuple[State, str]:
    return "done" if outcome.ok else "failed", outcome.describe()


def _last_phase(spec: dict[str, Any]) -> Phase:
    return "training" if spec.get("training") else "precompute"


def _record_from_results(run: RunDir, job_id: int) -> Record | None:
    """Make up the record of a job from its spec and its outcomes. None where there is no spec."""
    frozen = run.read_frozen()
    if frozen is None:
        return None
    spec = frozen["spec"]
    outcomes: list[Outcome | None] = [run.outcome(phase) for phase in PHASES]
    last = run.outcome(_last_phase(spec))
    ends = [_decide_end(each) for each in outcomes if each is not None and (not each.ok or each == last)]
    state, reason = ends[-1] if ends else ("paused", "")
    started_at = run.spec.stat().st_mtime
    row = {
        "id": job_id,
        "name": spec.get("name", ""),
        "state": state,
        "reason": reason,
        "source": f"runs/{job_id}/{SPEC}",
        "owner": "daemon",
        "spec": json.dumps(spec),
        "created_at": started_at,
        "job_group": spec.get("group", ""),
        "priority": spec.get("priority", 0),
        "after": json.dumps(spec.get("after", [])),
    }
    return Record(row, [(None, started_at, state, reason)])
