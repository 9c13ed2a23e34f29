"""A claim's mark is an empty file beside it in `jobs/accepted/`, from before the claim until its jobs are in the database.

Where a claimed file has no job, the mark tells a claim that broke off, which goes on, from a file whose jobs the database
has forgotten, because it is an older one or was begun anew: those may have run, so they are not simply run again.
"""

from __future__ import annotations

from collections.abc import Iterable
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


def remove_stale_marks(accepted: Path, names: Iterable[str], claims: Iterable[str]) -> None:
    """Remove the marks, among the `names` in the folder, of all but these claims: a crash came before or behind those."""
    current = {_name_mark(accepted / claim).name for claim in claims}
    for name in names:
        if name.startswith(PREFIX) and name.endswith(SUFFIX) and name not in current:
            (accepted / name).unlink(missing_ok=True)


def _name_mark(claimed: Path) -> Path:
    return claimed.with_name(f"{PREFIX}{claimed.name[:ULID_LENGTH]}{SUFFIX}")
