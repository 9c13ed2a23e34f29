"""Home names each file and folder in a daemon's home."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from prefd.daemon.errors import Exit, PrefdError
from prefd.daemon.machine.files import expand_user, follow_links
from prefd.daemon.machine.owners import has_rights, restrict

MAX_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
"""The longest path that a Unix socket may have on this platform."""
UNEXPANDED = re.compile(r"^~[^/]+|\$\w+|\$\{[^}]*\}|%\w+%")
"""What a shell would have made something else of."""


class HomeUnusable(PrefdError):
    """The home, or a folder of it, is not there as it should be; the message says where it is looked for, and what to do."""

    exit_code = Exit.NOT_FOUND
    http_status = 503


def refuse_dangling(folder: Path) -> None:
    """Raise HomeUnusable where `folder` is a link to what is not there: most often a drive that is not mounted."""
    if (problem := explain_dangling(folder)) is not None:
        raise HomeUnusable(problem)


def refuse_circle(path: Path) -> None:
    """Raise HomeUnusable where a link on the way to `path` leads back to itself."""
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            way = [*reversed(path.absolute().parents), path]
            reason = next(filter(None, map(explain_dangling, way)), f"{path}: {error.strerror}")
            raise HomeUnusable(f"the home {path} cannot be reached: {reason}") from None


def explain_dangling(path: Path) -> str | None:
    """Say where a link leads that leads to nothing, and what to do; None for anything else."""
    try:
        if not path.is_symlink():
            return None
        path.stat()
    except FileNotFoundError:
        remedy = "mount the drive that it is on, or remove the link to begin anew"
        return f"{path} is a link to {os.readlink(path)}, which is not there: {remedy}"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return f"{path} is a link to {os.readlink(path)}, which leads back to itself: remove it"
    return None


def refuse_unexpanded(path: Path) -> None:
    """Raise HomeUnusable for `~nobody/…`, `$HOME/…` and `%USERPROFILE%…`, of which none is there by that name."""
    match = UNEXPANDED.search(str(path))
    if match is None or path.exists():
        return
    problem = f"there is no user {match[0][1:]}" if match[0].startswith("~") else f"{match[0]} was not expanded"
    raise HomeUnusable(f"the home {path}: {problem}; write the path itself in --home or PREFD_HOME")


def locate_default() -> Path:
    """Return where the home is of a user who names none."""
    return Path(platformdirs.user_data_dir("prefd", appauthor=False))


@dataclass(frozen=True)
class Home:
    """Home is the layout of `<home>/`. Only `create` creates anything."""

    root: Path

    @classmethod
    def locate(cls, folder: str | os.PathLike[str] | None = None) -> Home:
        """Choose the home: `folder` (from `--home`), else $PREFD_HOME, else the platform's user data folder.

        Raises HomeUnusable for a link to what is not there, where a home would be made in a mount's place, and for a path that
        only a shell would have expanded, as a service manager's file may have one.
        """
        path = expand_user(folder or os.environ.get("PREFD_HOME") or locate_default())
        refuse_unexpanded(path)
        refuse_dangling(path)
        refuse_circle(path)
        return cls(follow_links(path))

    @property
    def config(self) -> Path:
        """Return the file of the daemon's settings."""
        return self.root / "config.toml"

    @property
    def jobs(self) -> Path:
        """Return the watched folder, into which specs are dropped."""
        return self.root / "jobs"

    @property
    def accepted(self) -> Path:
        """Return the folder of claimed specs."""
        return self.jobs / "accepted"

    @property
    def rejected(self) -> Path:
        """Return the folder of rejected specs, with the reasons beside them."""
        return self.jobs / "rejected"

    @property
    def runs(self) -> Path:
        """Return the folder of the jobs' own folders."""
        return self.root / "runs"

    @property
    def archive(self) -> Path:
        """Return the folder into which `prefd archive` puts jobs, unless it is told another."""
        return self.root / "archive"

    @property
    def cache(self) -> Path:
        """Return the folder of the cache of reference log-probabilities."""
        return self.root / "cache"

    @property
    def identity(self) -> Path:
        """Return the file with the home's id, and of the folder that it was given to."""
        return self.root / "home.json"

    @property
    def has_cache(self) -> bool:
        """Say whether there is a cache yet; opening it would create one."""
        return (self.cache / "zarr.json").exists()

    @property
    def database(self) -> Path:
        """Return the file of the job database."""
        return self.root / "prefd.sqlite3"

    @property
    def run(self) -> Path:
        """Return the folder of the socket and the lock, mode 0700."""
        return self.root / "run"

    @property
    def socket(self) -> Path:
        """Return the path of the control API's socket."""
        return self.run / "prefd.sock"

    @property
    def lock(self) -> Path:
        """Return the file whose lock the running daemon holds."""
        return self.run / "daemon.lock"

    @property
    def page_record(self) -> Path:
        """Return the file of `prefd web`: its token, and where it listens. Mode 0600."""
        return self.run / "web.json"

    @property
    def page_lock(self) -> Path:
        """Return the file whose lock the running `prefd web` holds."""
        return self.run / "web.lock"

    @property
    def serve_key(self) -> Path:
        """Return the file of the key of `prefd serve`. Mode 0600."""
        return self.root / "serve.key"

    @property
    def serve_record(self) -> Path:
        """Return the file of `prefd serve` that says where it listens."""
        return self.run / "serve.json"

    @property
    def serve_lock(self) -> Path:
        """Return the file whose lock the running `prefd serve` holds."""
        return self.run / "serve.lock"

    @property
    def live(self) -> Path:
        """Return the folder of the sessions of clients of `prefd serve`."""
        return self.root / "live"

    @property
    def log(self) -> Path:
        """Return the file of the daemon's log, where it does not go to stderr."""
        return self.root / "daemon.log"

    def refusal(self, name: str) -> Path:
        """Return the path of the file beside the rejected spec `name` that says why it was rejected."""
        return self.rejected / f"{name}.error.txt"

    def job(self, job_id: int) -> Path:
        """Return the path of a job's folder."""
        return self.runs / str(job_id)

    def create(self) -> None:
        """Create every folder; only the user may read the home and its `run/`. A new home gets its id.

        Raises HomeUnusable for a folder that is a link to what is not there, and OSError.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self.jobs, self.accepted, self.rejected, self.runs, self.cache):
            refuse_dangling(folder)
            folder.mkdir(exist_ok=True, mode=0o755)  # nobody else may put a job there, whatever the umask is
        if not self.identity.exists() and not self.database.exists():
            from prefd.daemon.home.identity import begin_identity  # here: most commands make no home

            begin_identity(self.root)
        self.run.mkdir(exist_ok=True, mode=0o700)
        restrict(self.run, 0o700)
        if sys.platform == "darwin":  # Spotlight would read what runs and cache write all day
            (self.root / ".metadata_never_index").touch()

    def close_to_others(self) -> int | None:
        """Take the home, and what decides which jobs run in it, away from other users; return its mode before, None where it was so.

        Raises OSError where it is another user's.
        """
        mode = stat.S_IMODE(self.root.stat().st_mode)
        for path in (self.jobs, self.accepted, self.rejected, self.runs, self.cache, self.config):
            if path.exists() and (inner := stat.S_IMODE(path.stat().st_mode)) & 0o022:
                restrict(path, inner & ~0o022)
        if not mode & 0o077:
            return None
        restrict(self.root, mode & ~0o077)
        return mode if has_rights(self.root) else None
