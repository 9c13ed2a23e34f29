"""Which jobs ask for the same: a spec dropped twice is two jobs, and the second one says so."""

from __future__ import annotations

from prefd.daemon.jobs import JobTable


class Twins:
    """Over one table. It reads each spec once, and keeps 8 bytes of it."""

    def __init__(self, table: JobTable) -> None:
        self.table = table
        self._read = 0
        self._latest: dict[int, int] = {}
        self._earlier: dict[int, int] = {}

    def before(self, job_id: int) -> int | None:
        """The last job before `job_id` with the same spec, whatever the two are called."""
        for each, content in self.table.contents(self._read):
            key = hash(content)
            if key in self._latest:
                self._earlier[each] = self._latest[key]
            self._latest[key] = self._read = each
        return self._earlier.get(job_id)
