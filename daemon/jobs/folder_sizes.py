"""FolderSizes is what the database knows of the jobs' folders: what they take on disk, and which parts of them were deleted.

Measuring a folder takes time, so it is done when a job has ended, off the loop that runs the queue, and listing jobs reads
what was found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from prefd.daemon.jobs import rows
from prefd.daemon.jobs.database import explain_errors
from prefd.daemon.jobs.removals import NotRemovable, describe_foreign_folder
from prefd.daemon.jobs.states import ENDED
from prefd.daemon.jobs.writer import JobWriter
from prefd.daemon.runs.disk_usage import RunSize, list_parts, measure_run
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.run_identity import find_stranger
from prefd.daemon.text.sizes import format_size

Discard = Callable[[Path, str], bool]
"""Takes a folder out of a job's, whole at once, under a name for what is to be deleted; False where it is not there."""


class FolderSizes(JobWriter):
    """Writes down what the jobs' folders take, and takes parts out of the folders of ended jobs."""

    def set_sizes(self, sizes: Mapping[int, RunSize]) -> None:
        """Write down what these jobs' folders take; one that was removed meanwhile is passed over."""
        now = time.time()
        values = [(size.bytes, size.checkpoints, size.fused, now, job_id) for job_id, size in sizes.items()]
        with self.transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO sizes (bytes, checkpoints, fused, at, job_id) "
                "SELECT ?, ?, ?, max(?, coalesce(finished_at, 0)), id FROM jobs WHERE id = ?",  # the clock may be set back
                values,
            )

    def unmeasured(self) -> list[int]:
        """Return the ended jobs whose folders were not measured since they ended, the newest first."""
        with explain_errors(self._path):
            cursor = self._db.execute(
                "SELECT id FROM jobs LEFT JOIN sizes ON sizes.job_id = jobs.id "
                f"WHERE state IN {tuple(ENDED)} AND coalesce(sizes.at, 0) < coalesce(finished_at, created_at) ORDER BY id DESC"
            )
            return [job_id for (job_id,) in cursor]

    def discard(self, runs: Path, job_ids: Iterable[int], part: str, discard: Discard) -> None:
        """Take the folders that are called `part` out of the folders of ended jobs. Raises JobNotFound, NotRemovable, OSError.

        It is done within the transaction, so that no job is queued again meanwhile and goes on from what is taken away.
        """
        for chunk in _split(list(job_ids), 500):
            with self.transaction():
                jobs = [rows.find_job(self._db, job_id) for job_id in chunk]
                if unended := [job for job in jobs if not job.ended]:
                    first = unended[0]
                    raise NotRemovable(
                        f"job {first.id} is {first.state}, and needs its {part}; `prefd cancel {first.id}` ends it"
                    )
                for job in jobs:
                    run = RunDir(runs / str(job.id))
                    if job.ulid and (stranger := find_stranger(run.root, job.ulid)) is not None:
                        foreign = describe_foreign_folder(run.root, stranger)
                        raise NotRemovable(f"job {job.id}: {foreign}; move the folder out of {runs} first")
                    before = measure_run(run)
                    discarded = [folder for folder in list_parts(run, part) if discard(folder, f"{job.id}-{part}")]
                    if not discarded:
                        continue
                    reason = f"its {part} deleted by you: {format_size(getattr(before, part))}"
                    rows.insert_event(self._db, job.id, rows.choose_timestamp(self._db, job.id), job.state, reason)
                    after = measure_run(run)
                    self._db.execute(
                        "INSERT OR REPLACE INTO sizes (job_id, bytes, checkpoints, fused, at) VALUES (?, ?, ?, ?, ?)",
                        (job.id, after.bytes, after.checkpoints, after.fused, time.time()),
                    )
                    self._changed.add(job.id)


def _split(values: Sequence[int], size: int) -> list[Sequence[int]]:
    return [values[start : start + size] for start in range(0, len(values), size)]
