"""Which jobs ask for the same: a spec dropped twice is two jobs, and the second one says so."""

from __future__ import annotations

from prefd.daemon.jobs import JobTable
from prefd.daemon.spec import JobSpec


class Twins:
    """Over one table. It reads each spec once, and keeps 8 bytes of it."""

    def __init__(self, table: JobTable) -> None:
        self.table = table
        self._read = 0
        self._latest: dict[int, int] = {}

    def of(self, spec: JobSpec) -> int | None:
        """The last job so far with the same spec, whatever the two are called."""
        for job_id, content in self.table.contents(self._read):
            self._latest[hash(content)] = self._read = job_id
        return self._latest.get(hash(self.table.content(spec)))
