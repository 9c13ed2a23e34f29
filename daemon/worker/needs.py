"""What a job needs of the reference cache: every distinct completion once, and the count of what that avoids."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from prefd.daemon.worker.job import Job
from prefd.daemon.worker.tokens import Completion, Example

ENTRY_BYTES = 32 + 8 + 8 + 4  # key, offset, sum and checksum; then four bytes a token


@dataclass(frozen=True)
class Needs:
    """The completions of a job's pairs, training and held-out, by their keys."""

    completions: dict[bytes, Completion]
    rows: dict[bytes, Example]
    """The first pair that each completion belongs to."""
    duplicates: int
    """How many more sides there are than distinct completions."""

    @classmethod
    def of(cls, job: Job) -> Needs:
        """Raises `JobError` where a model lacks a token or a position of the pairs."""
        job.check_tables()
        completions: dict[bytes, Completion] = {}
        rows: dict[bytes, Example] = {}
        sides = [(example, side) for example in job.examples for side in (example.chosen, example.rejected)]
        for example, side in sides:
            key = job.key(side)
            completions.setdefault(key, side)
            rows.setdefault(key, example)
        return cls(completions, rows, len(sides) - len(completions))

    def audit(self, missing: Collection[bytes]) -> dict[str, Any]:
        """The numbers of a job's report, given which completions are not in the cache.

        `tokens_scored` counts completion tokens, `tokens_run` prompts too; `bytes` is what all of it takes on disk.
        """
        scored = [self.completions[key] for key in missing]
        return {
            "completions": len(self.completions),
            "duplicates": self.duplicates,
            "cached": len(self.completions) - len(scored),
            "missing": len(scored),
            "tokens_scored": sum(len(one.ids) - one.start for one in scored),
            "tokens_run": sum(len(one.ids) for one in scored),
            "bytes": sum(ENTRY_BYTES + 4 * (len(one.ids) - one.start) for one in self.completions.values()),
        }
