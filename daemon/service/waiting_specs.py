"""Finds the spec files that are no jobs yet: dropped into `jobs/`, or claimed by a daemon that ended before their row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from prefd.daemon.home.layout import Home
from prefd.daemon.inbox.claims import Claimed
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.reading import SUFFIXES, SpecError, read_specs
from prefd.daemon.text.parsed import MAX_BYTES


@dataclass(frozen=True)
class WaitingSpec:
    """One file that a daemon will read. `source` names it in the job table, once it is claimed."""

    path: Path
    name: str
    folder: Path
    """Where relative paths in it start."""
    source: str | None = None

    @cached_property
    def specs(self) -> list[JobSpec]:
        """What it asks for, several jobs of a sweep; nothing where it will be no job. Read at the first look."""
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            return [spec.resolved(self.folder) for spec in read_specs(data, self.name).specs]
        except (OSError, SpecError, RuntimeError, ValueError):
            return []


def list_waiting_specs(home: Home) -> list[WaitingSpec]:
    """List the files on the way to the job table, in the order of their way, so that none is passed over.

    Those in `jobs/` are read before `accepted/` is listed, where a daemon may have moved them to. Most of those there are
    jobs: the table knows them by their `source`.
    """
    dropped = [WaitingSpec(path, path.name, home.jobs) for path in _files(home.jobs)]
    readable = [each for each in dropped if each.specs]
    claimed = [Claimed.of(path) for path in _files(home.accepted)]
    return readable + [WaitingSpec(each.path, each.name, home.jobs, each.source) for each in claimed]


def _files(folder: Path) -> list[Path]:
    """Plain files that may be specs."""
    found = (each for each in folder.glob("*") if each.suffix.lower() in SUFFIXES and not each.name.startswith("."))
    return sorted(each for each in found if each.is_file() and not each.is_symlink())
