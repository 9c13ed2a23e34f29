"""A slot is a place where a home may lie, with its daemon; homes are copied between slots as people copy folders."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import Job, JobTable, JobTableError

PASSING = shutil.ignore_patterns("*.sock", "*.tmp", ".*~")
"""What is just being written, or cannot be copied."""


@dataclass
class Slot:
    """A place for a home, and what its commands have asked for there."""

    home: Home
    daemon: int | None = None
    """The pid of its daemon; of a home that was moved or removed it ends by itself."""
    cancelled: set[str] = field(default_factory=set)


def read_jobs(home: Home) -> list[Job]:
    """The jobs of a home; none where it has no database that can be read now."""
    with suppress(JobTableError, OSError), JobTable.open_readonly(home.database) as table:
        return table.list()
    return []


def same_home(one: Path, other: Path) -> bool:
    """Whether a backup is of this home: an older database of another one is no restore."""
    documents = [json.loads((root / "home.json").read_text()) for root in (one, other) if (root / "home.json").exists()]
    return len(documents) == 2 and documents[0]["id"] == documents[1]["id"]


def copy_home(source: Path, target: Path, left_out: tuple[str, ...]) -> None:
    """As `cp -a` does of a folder in which daemon and workers go on writing."""
    names = shutil.ignore_patterns(*left_out)
    with suppress(shutil.Error):  # what went away meanwhile
        shutil.copytree(
            source, target, symlinks=True, ignore=lambda folder, each: PASSING(folder, each) | names(folder, each)
        )
