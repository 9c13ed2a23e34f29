"""Where a daemon keeps what it owns: one folder, one name for each thing in it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs

MAX_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
"""The longest path that a Unix socket may have on this platform."""


@dataclass(frozen=True)
class Home:
    """The layout of `<home>/`. Nothing is created by looking."""

    root: Path

    @classmethod
    def locate(cls, given: str | os.PathLike[str] | None = None) -> Home:
        """`--home`, else $PREFD_HOME, else the platform's user data folder."""
        chosen = given or os.environ.get("PREFD_HOME") or platformdirs.user_data_dir("prefd", appauthor=False)
        return cls(Path(chosen).expanduser().resolve())

    @property
    def config(self) -> Path:
        return self.root / "config.toml"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def accepted(self) -> Path:
        return self.jobs / "accepted"

    @property
    def rejected(self) -> Path:
        return self.jobs / "rejected"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def has_cache(self) -> bool:
        """Whether there is a cache yet; to open it would make one."""
        return (self.cache / "zarr.json").exists()

    @property
    def database(self) -> Path:
        return self.root / "prefd.sqlite3"

    @property
    def run(self) -> Path:
        """Socket and lock live here, mode 0700."""
        return self.root / "run"

    @property
    def socket(self) -> Path:
        return self.run / "prefd.sock"

    @property
    def lock(self) -> Path:
        return self.run / "daemon.lock"

    @property
    def log(self) -> Path:
        return self.root / "daemon.log"

    def refusal(self, name: str) -> Path:
        """The file beside the rejected spec `name` that says why it was rejected."""
        return self.rejected / f"{name}.error.txt"

    def job(self, job_id: int) -> Path:
        return self.runs / str(job_id)

    def create(self) -> None:
        """Make every folder; the home and its `run/` are the user's alone."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self.jobs, self.accepted, self.rejected, self.runs, self.cache):
            folder.mkdir(exist_ok=True)
        self.run.mkdir(exist_ok=True, mode=0o700)
        self.run.chmod(0o700)
