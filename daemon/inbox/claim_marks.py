"""A claim's mark is an empty file beside it in `jobs/accepted/`, from before the claim until its jobs are in the database.

Where a claimed file has no job, the mark tells a claim that broke off, which goes on, from a file whose jobs the database
has forgotten, because it is an older one or was begun anew: those may have run, so they are not simply run again.
"""

from __future__ import annotations

from pathlib import Path

PREFIX, SUFFIX = ".", ".claim"
ULID_LENGTH = 26


def make_mark(claimed: Path) -> None:
    """Mark a file that is about to be claimed as `claimed`. Raises OSError."""
    _name_mark(claimed).touch()


def remove_mark(claimed: Path) -> None:
    """Remove the mark of a claim whose jobs are in the database, or that is none any more. Raises OSError."""
    _name_mark(claimed).unlink(missing_ok=True)


def is_marked(claimed: Path) -> bool:
    """Return whether the claim broke off before its jobs were in the database."""
    return _name_mark(claimed).exists()


def _name_mark(claimed: Path) -> Path:
    return claimed.with_name(f"{PREFIX}{claimed.name[:ULID_LENGTH]}{SUFFIX}")
