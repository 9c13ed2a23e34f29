"""NewJobs are the transactions by which specs become jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from prefd.daemon.jobs import rows
from prefd.daemon.jobs.job import Job
from prefd.daemon.jobs.job_ulids import choose_job_ulid
from prefd.daemon.jobs.queries import serialize_spec
from prefd.daemon.jobs.transitions import Transitions

if TYPE_CHECKING:  # pydantic takes 80 ms to import, and listing jobs needs none of it
    from prefd.daemon.specs.job_spec import JobSpec


class NewJobs(Transitions):
    """NewJobs adds the jobs of claimed files, and those of `prefd run`."""

    def add(self, spec: JobSpec, source: str, owner: str = "daemon") -> Job:
        """Add a job in state `queued` and return it. For a claimed file that has a job already, return that job."""
        return self.add_all([spec], source, owner)[0]

    def add_all(
        self,
        specs: Sequence[JobSpec],
        source: str,
        owner: str = "daemon",
        descriptions: Sequence[str] = (),
        reasons: Sequence[str] = (),
        hold: str = "",
    ) -> list[Job]:
        """Add a job for each of a file's specs, all of them or none, and return them.

        For a claimed file that has jobs already, return these. `descriptions`: each job's settings, in words. `reasons`:
        a remark on each job, such as which job has the same spec. `hold`: why the jobs are to be paused from the first.
        """
        now = time.time()
        with self.transaction():
            query = "SELECT id FROM jobs WHERE source = ? AND owner = 'daemon' ORDER BY part"
            if owner == "daemon" and (existing := self._db.execute(query, (source,)).fetchall()):
                return [rows.find_job(self._db, job_id) for (job_id,) in existing]
            none = [""] * len(specs)
            parts = enumerate(zip(specs, descriptions or none, reasons or none, strict=True))
            jobs = [self._insert(spec, source, owner, now, part, *texts) for part, (spec, *texts) in parts]
            if hold:
                jobs = [self._move(job, "paused", hold, {}) for job in jobs]
            self.record_table()
            return jobs

    def _insert(
        self, spec: JobSpec, source: str, owner: str, now: float, part: int, description: str, reason: str
    ) -> Job:
        """Insert a queued job with its first line of history, within the open transaction."""
        from prefd.daemon.machine.processes import ProcessId

        pid = owner.removeprefix("run:")
        process = ProcessId.find(int(pid)) if pid.isdecimal() and len(pid) < 10 else None
        ulid = choose_job_ulid(self._db, source if owner == "daemon" else "", part)
        number, occupied_numbers = self.choose_number(ulid)
        reason = "; ".join(filter(None, (reason, describe_taken(occupied_numbers))))
        job_id = rows.insert_job(
            self._db,
            id=number,
            name=spec.name,
            state="queued",
            reason=reason,
            source=source,
            owner=owner,
            spec=serialize_spec(spec),
            created_at=now,
            job_group=spec.group,
            description=description,
            part=part,
            priority=spec.priority,
            not_before=spec.starts_at,
            after=json.dumps(spec.after),
            boot=process.boot if process else "",
            owner_started=process.started if process else None,
            ulid=ulid,
        )
        self._record(job_id, now, "queued", reason)
        return rows.find_job(self._db, job_id)


def describe_taken(numbers: Sequence[int]) -> str:
    """Say in words which numbers a new job did not get; "" where there are none."""
    if not numbers:
        return ""
    span = f"number {numbers[0]} is" if len(numbers) == 1 else f"numbers {numbers[0]} to {numbers[-1]} are"
    return f"{span} taken: runs/{numbers[0]} is there, and is another job's"
