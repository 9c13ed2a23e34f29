"""ReferenceUses tells which jobs used each reference of the cache, and how much of what they needed was there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.job import Brief
from prefd.daemon.runs.run_folder import RunDir


@dataclass(frozen=True)
class UseOfReference:
    """UseOfReference says what a job needed of a reference, and how much of that was in the cache."""

    job: int
    name: str
    state: str
    needed: int
    """Distinct completions of its pairs."""
    cached: int
    """Those that were in the cache."""
    scored: int
    """Those that the job scored."""
    seconds: float
    """What its reference pass took."""


class ReferenceUses:
    """ReferenceUses reads the reference passes of one home's jobs, each again only when it has changed."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._read: dict[int, tuple[int, str | None, tuple[int, int, int, float]]] = {}
        """Job → when its outcome was written, the fingerprint in it, and its numbers."""

    def list(self, jobs: Iterable[Brief]) -> dict[str, list[UseOfReference]]:
        """List by fingerprint the jobs that used the reference, in the order in which they are given."""
        uses: dict[str, list[UseOfReference]] = {}
        for job in jobs:
            fingerprint, numbers = self._look_up(job)
            if fingerprint is not None:
                uses.setdefault(fingerprint, []).append(UseOfReference(job.id, job.name, job.state, *numbers))
        return uses

    def _look_up(self, job: Brief) -> tuple[str | None, tuple[int, int, int, float]]:
        run = RunDir(self.home.job(job.id), job.ulid)
        try:
            written = os.stat(run.root / "precompute.json").st_mtime_ns
        except OSError:
            return None, (0, 0, 0, 0.0)
        known = self._read.get(job.id)
        if known is None or known[0] != written:
            outcome = run.outcome("precompute")
            if outcome is None:
                return None, (0, 0, 0, 0.0)
            summary = outcome.summary
            numbers = (summary.completions, summary.cached, summary.scored, summary.seconds)
            known = self._read[job.id] = (written, summary.fingerprint, numbers)
        return known[1:]
