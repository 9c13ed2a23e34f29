"""Collects the distinct completions that a job needs from the reference cache, and counts what is missing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from prefd.daemon.runs.audit import Audit
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.job import SpecifiedJob

ENTRY_BYTES = 32 + 8 + 8 + 4  # key, offset, sum and checksum; then four bytes a token


@dataclass(frozen=True)
class Needs:
    """Needs holds the completions of a job's pairs, training and held-out, by their keys."""

    completions: dict[bytes, Completion]
    rows: dict[bytes, Example]
    """The first pair that each completion belongs to."""
    duplicates: int
    """How many more sides there are than distinct completions."""

    @classmethod
    def collect(cls, job: SpecifiedJob) -> Needs:
        """Collect the completions of `job`. Raises `JobError` where a model lacks a token or a position of the pairs."""
        job.check_tables()
        completions: dict[bytes, Completion] = {}
        rows: dict[bytes, Example] = {}
        sides = [(example, side) for example in job.examples for side in (example.chosen, example.rejected)]
        for example, side in sides:
            key = job.key(side)
            completions.setdefault(key, side)
            rows.setdefault(key, example)
        return cls(completions, rows, len(sides) - len(completions))

    def audit(self, missing: Collection[bytes]) -> Audit:
        """Count what the job needs, given the keys of the completions that are not in the cache."""
        missing_completions = [self.completions[key] for key in missing]
        return Audit(
            completions=len(self.completions),
            duplicates=self.duplicates,
            cached=len(self.completions) - len(missing_completions),
            missing=len(missing_completions),
            tokens_scored=sum(len(completion.ids) - completion.start for completion in missing_completions),
            tokens_run=sum(len(completion.ids) for completion in missing_completions),
            bytes=sum(
                ENTRY_BYTES + 4 * (len(completion.ids) - completion.start) for completion in self.completions.values()
            ),
        )
