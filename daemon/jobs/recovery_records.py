"""Records keeps a copy of each job's row and history in `runs/<id>/job.json`, from which a lost database is rebuilt.

A record is written before its transaction commits, so that it never lags behind: a job that ended is never run again for
want of a line. A record whose transaction did not commit is put right by the next write, or when the daemon starts. A
record that cannot be written stops no transition; it is written again when there is room.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from prefd.daemon.home.identity import FolderId, read_folder_id
from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.runs.run_folder import RECORD
from prefd.daemon.runs.run_identity import read_identities

log = logging.getLogger(__name__)

TABLE_RECORD = ".table.json"
"""In `runs/`: the last number that was given to a job, and since when the queue is paused."""


ENDS_RECORD = ".ends.json"
"""In `runs/`: the jobs of a large cancellation whose own records are still to be written."""


End = tuple[str, str, float]
"""How a job ended: its state, the reason, and when (Unix time)."""


class Record(NamedTuple):
    """Record is a copy of one job's row and history."""

    row: dict[str, Any]
    """The job's row in the table `jobs`, by column."""
    history: list[tuple[int | None, float, str, str]]
    """For each line: its number in the table (None: a new one), Unix time, state and reason; oldest first."""
    home: str = ""
    """The id of the home that wrote it; empty for one of an earlier version."""

    def is_same_job(self, other: Record) -> bool:
        """Return whether both are of one job. Without ULIDs, as in an earlier version's, the time of the claim decides."""
        ulids = (self.row.get("ulid"), other.row.get("ulid"))
        if all(ulids):
            return ulids[0] == ulids[1]
        return all(self.row.get(name) == other.row.get(name) for name in ("id", "source", "created_at"))


def is_unused(folder: Path) -> bool:
    """Say whether a run folder holds nothing, or only a file that was never finished: it was made, and no job came of it."""
    return all(path.name.startswith(".") and path.name.endswith(".tmp") for path in folder.iterdir())


@dataclass
class Records:
    """Records holds the records of all jobs, in the folder `runs`."""

    runs: Path
    missing: set[int] = field(default_factory=set)
    """The ids of jobs whose record could not be written."""

    def __post_init__(self) -> None:
        self._home = self._find_home()
        self._reserved: list[Path] = []
        self._told: set[int] = set()

    def write(self, record: Record) -> None:
        """Write one job's record; a job whose record cannot be written is noted in `missing`."""
        job_id = int(record.row["id"])
        folder = self.runs / str(job_id)
        try:
            if self._find_home() != self._home:  # it went away, or is another home by now: the daemon says so
                self.missing.add(job_id)
                return
            if record.row["origin"] or self._holds_another(record):
                self.missing.discard(job_id)
                return
            self.runs.mkdir(exist_ok=True)
            folder.mkdir(exist_ok=True)
            write_json(
                folder / RECORD, record._asdict(), flush=len(record.history) > 1
            )  # until then the claimed file has it
            self.missing.discard(job_id)
        except OSError as error:
            if job_id not in self.missing:
                why, about = error.strerror or error, {"job": job_id}
                log.warning("job %d: %s cannot be written yet: %s", job_id, folder / RECORD, why, extra=about)
            self.missing.add(job_id)

    def reserve(self, job_id: int, ulid: str) -> bool:
        """Make the folder of a new job; False where that number's folder is there already, and is another job's.

        An empty one is nobody's: a process that was killed made it for a job that did not come into the database. Where `runs/`
        is a link, another home may share it and have made the folder just now, so there it counts as taken.
        """
        folder = self.runs / str(job_id)
        try:
            self.runs.mkdir(exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            if not folder.is_dir():
                return False
            if self.runs.is_symlink() or not is_unused(folder):
                return [each.job for each in read_identities(folder)] == [ulid]
        except OSError:  # the disk is full, say: the record is written when there is room
            return not folder.exists()
        self._reserved.append(folder)
        return True

    def keep_reserved(self) -> None:
        """Note that the jobs of the folders that were made are in the database."""
        self._reserved.clear()

    def release_reserved(self) -> None:
        """Remove the folders that were made for jobs which did not come into the database."""
        for folder in self._reserved:
            with suppress(OSError):
                (folder / RECORD).unlink(missing_ok=True)
                folder.rmdir()
        self._reserved.clear()

    def _holds_another(self, record: Record) -> bool:
        """Return whether the folder holds the record of another job, which is never overwritten; that is told once."""
        job_id = int(record.row["id"])
        there = self.read(job_id)
        if there is None or there.is_same_job(record):
            return False
        if job_id not in self._told:
            self._told.add(job_id)
            folder, other = self.runs / str(job_id), there.row.get("ulid") or "one of an earlier version"
            message = (
                "job %d: %s is the folder of another job (%s): it is left as it is, and job %d cannot run; move it away"
            )
            log.warning(message, job_id, folder, other, job_id, extra={"job": job_id})
        return True

    def _find_home(self) -> FolderId | None:
        return read_folder_id(self.runs.parent)

    def read(self, job_id: int) -> Record | None:
        """Return a job's record; None where there is none that can be read."""
        match document := read_json(self.runs / str(job_id) / RECORD):
            case {"row": {"id": int() as number, "spec": str(), "state": str()} as row, "history": list() as history}:
                if number == job_id and all(isinstance(each, list) and len(each) == 4 for each in history):
                    home = document.get("home") if isinstance(document, dict) else None
                    return Record(row, [(each[0], each[1], each[2], each[3]) for each in history], str(home or ""))
        return None

    def write_table(self, last_id: int, paused_at: float | None) -> None:
        """Write the last id and the queue's pause, which belong to no job, where that can be done."""
        with suppress(OSError):
            if self._find_home() != self._home:
                return
            self.runs.mkdir(exist_ok=True)
            if self.read_table() != (last_id, paused_at):
                write_json(self.runs / TABLE_RECORD, {"last_id": last_id, "paused_at": paused_at}, flush=False)

    def read_table(self) -> tuple[int, float | None]:
        """Return the last id that was written down, and since when (Unix time) the queue is paused."""
        match read_json(self.runs / TABLE_RECORD):
            case {"last_id": int() as last_id, "paused_at": (float() | int() | None) as paused_at}:
                return last_id, paused_at
        return 0, None

    def write_ends(self, job_ids: Sequence[int], state: str, reason: str, timestamp: float) -> None:
        """Write down that these jobs ended alike, in one file, beside those that are in it already."""
        ends = {str(job_id): end for job_id, end in self.read_ends().items()}
        ends |= dict.fromkeys(map(str, job_ids), (state, reason, timestamp))
        with suppress(OSError):
            self.runs.mkdir(exist_ok=True)
            write_json(self.runs / ENDS_RECORD, ends, indent=None)

    def read_ends(self) -> Mapping[int, End]:
        """Return (state, reason, Unix time) of the jobs whose own record may not say yet that they have ended."""
        document = read_json(self.runs / ENDS_RECORD)
        ends = document.items() if isinstance(document, dict) else ()
        return {int(job_id): (end[0], end[1], end[2]) for job_id, end in ends}

    def forget_ends(self) -> None:
        """Delete the file of ends, once every job's own record has been written."""
        with suppress(OSError):
            (self.runs / ENDS_RECORD).unlink(missing_ok=True)

    def ids(self) -> Iterator[int]:
        """Yield the ids of all jobs that have a folder, in order."""
        with suppress(FileNotFoundError):
            yield from sorted(int(path.name) for path in self.runs.iterdir() if path.name.isdecimal())
