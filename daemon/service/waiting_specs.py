"""`list_waiting_specs` finds spec files that are no jobs yet: dropped, or claimed by a daemon that ended before their row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from prefd.daemon.home.layout import Home
from prefd.daemon.inbox.claimed_file import Claimed
from prefd.daemon.inbox.non_specs import explain_name
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.reading import SUFFIXES, read_specs
from prefd.daemon.specs.spec_error import SpecError
from prefd.daemon.text.parsed import MAX_BYTES


@dataclass(frozen=True)
class WaitingSpec:
    """WaitingSpec is one spec file that a daemon will read. `source` names it in the job table, once it is claimed."""

    path: Path
    name: str
    folder: Path
    """Where relative paths in it start."""
    source: str | None = None

    @cached_property
    def specs(self) -> list[JobSpec]:
        """Return the specs of the jobs that the file will become, several of a sweep; none where it will be rejected.

        The file is read at the first use.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            return [spec.resolved(self.folder) for spec in read_specs(data, self.name).specs]
        except (OSError, SpecError, RuntimeError, ValueError):
            return []


def list_waiting_specs(home: Home) -> list[WaitingSpec]:
    """List the files on the way to the job table, without missing one that a daemon claims meanwhile.

    The files in `jobs/` are read before `accepted/` is listed, where a daemon may have moved them. Most of those in
    `accepted/` are jobs already: the table has their `source`.
    """
    dropped = [WaitingSpec(each, each.name, home.jobs) for each in _files(home.jobs) if explain_name(each.name) is None]
    readable = [each for each in dropped if each.specs]
    claimed = [Claimed.from_path(path) for path in _files(home.accepted)]
    return readable + [WaitingSpec(each.path, each.name, home.jobs, each.source) for each in claimed]


def _files(folder: Path) -> list[Path]:
    """List the plain files in a folder that may be specs."""
    files = (path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in files if path.is_file() and not path.is_symlink())
