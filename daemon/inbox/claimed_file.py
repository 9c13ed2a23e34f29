"""Claimed is one file in `jobs/accepted/`, and its name and its mark say what is known of its claim.

The name begins with the ULID that the claim was given. A mark lies beside it until its jobs are in the database: a file that
has a mark and no job is one whose claim broke off; one that has neither was taken in once, and may have run.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ulid import ULID

from prefd.daemon.home.layout import Home
from prefd.daemon.inbox.claim_marks import PREFIX, SUFFIX, ULID_LENGTH, is_marked, make_mark
from prefd.daemon.machine.cloud import ASKED_FOR, IN_CLOUD, InCloud, find_placeholder, is_dataless, request_download
from prefd.daemon.machine.files import open_regular

CLAIMED = re.compile(r"[0-9A-Z]{26}-[^\ud800-\udfff]+", re.DOTALL)
"""An accepted file's name: a ULID, and the name as it was dropped (which was UTF-8)."""


@dataclass(frozen=True)
class Claimed:
    """Claimed is a claimed spec file: `path` in `jobs/accepted/`, `name` as it was dropped."""

    path: Path
    name: str
    hold: str = ""
    """Why its jobs are not to run unless somebody asks for it; empty where they are."""

    @classmethod
    def from_path(cls, path: Path) -> Claimed:
        """Make the claim of a file in `jobs/accepted/`, whose name there begins with a ULID."""
        return cls(path, path.name[ULID_LENGTH + 1 :])

    @property
    def source(self) -> str:
        """Return the file's name in the job table."""
        return self.path.name

    def read(self, limit: int) -> bytes:
        """Read the file's first `limit` + 1 bytes: enough to use it, or to refuse it for being larger. Raises OSError.

        Raises InCloud, without waiting, where a cloud has taken its contents off this Mac.
        """
        if find_placeholder(self.path) is not None:
            raise InCloud(self.path, IN_CLOUD)
        with open(open_regular(self.path), "rb") as file:
            if is_dataless(os.fstat(file.fileno())):
                request_download(self.path)
                raise InCloud(self.path, ASKED_FOR)
            return file.read(limit + 1)


def is_broken_off(home: Home, source: str) -> bool:
    """Return whether the claim of that name broke off before its jobs were in the database."""
    return CLAIMED.fullmatch(source) is not None and is_marked(home.accepted / source)


def mark_claims(home: Home, recorded: set[str]) -> None:
    """Mark each claimed file without a job as one whose claim broke off. Raises OSError."""
    with os.scandir(home.accepted) as entries:
        names = [entry.name for entry in entries if CLAIMED.fullmatch(entry.name) and entry.name not in recorded]
    for name in names:
        make_mark(home.accepted / name)


def unmark_claims(home: Home) -> None:
    """Have every claimed file without a job held, one whose claim broke off too. Raises OSError."""
    for mark in home.accepted.glob(f"{PREFIX}*{SUFFIX}"):
        mark.unlink(missing_ok=True)


def describe_unknown_claim(claimed: Claimed) -> str:
    """Say in words why the jobs of a file are held that was taken in once, and whose jobs the database does not know."""
    moment = ""
    with suppress(ValueError):
        moment = f" on {datetime.fromtimestamp(ULID.from_str(claimed.source[:ULID_LENGTH]).timestamp):%Y-%m-%d %H:%M}"
    return (
        f"it was taken in once{moment}, and the database does not know its job: was that begun anew, or is it an older one or a copy? "
        "It may have run: `prefd resume ID` runs it, `prefd cancel ID` does not"
    )
