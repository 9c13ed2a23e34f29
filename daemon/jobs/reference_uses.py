"""ReferenceUses tells which jobs used each reference of the cache, and how much of what they needed was there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.job import Brief
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.used_reference import OUTCOMES, UsedReference, read_used_reference


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
        self._read: dict[int, tuple[list[int], UsedReference | None]] = {}
        """Job → when its outcomes were written, and what they say."""

    def list(self, jobs: Iterable[Brief]) -> dict[str, list[UseOfReference]]:
        """List by fingerprint the jobs that used the reference, in the order in which they are given."""
        uses: dict[str, list[UseOfReference]] = {}
        for job in jobs:
            if (used := self._look_up(job)) is not None:
                uses.setdefault(used.fingerprint, []).append(UseOfReference(job.id, job.name, job.state, *used[1:]))
        return uses

    def _look_up(self, job: Brief) -> UsedReference | None:
        run = RunDir(self.home.job(job.id), job.ulid)
        written = []
        for name in OUTCOMES:
            with suppress(OSError):
                written.append(os.stat(run.root / name).st_mtime_ns)
        entry = self._read.get(job.id)
        if entry is None or entry[0] != written:
            entry = self._read[job.id] = (written, read_used_reference(run) if written else None)
        return entry[1]
