"""The watched folder: which files are complete, claiming them, and setting the bad ones aside.

A claim is one rename into `jobs/accepted/`; nothing is read as a spec before it. A file is complete when its size,
time and inode have not changed for the settle time and (where Linux can tell) nobody has it open for writing. Names,
not contents, decide who is a candidate: dotfiles and editors' leavings are passed over, and whatever is not a regular
file is never opened.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from ulid import ULID

from prefd.daemon.home import Home
from prefd.daemon.parse import MAX_BYTES
from prefd.daemon.text import clip

log = logging.getLogger(__name__)

LEAVINGS = ("~", ".swp", ".swx", ".tmp", ".temp", ".partial", ".part", ".crdownload", ".bak", ".orig", ".lock")
EMPTY_PATIENCE = 4.0
"""An empty file is most often one whose writer has not flushed yet: it gets this many settle times."""
STILL_WRITTEN_SECONDS = 30.0
ULID_LENGTH = 26
CLAIMED = re.compile(r"[0-9A-Z]{26}-[^\ud800-\udfff]+", re.DOTALL)
"""An accepted file's name: a ULID, and the name as it was dropped (which was UTF-8)."""
MAX_NAME_BYTES = 180
"""What is kept of a name, so that a prefix and `.error.txt` still fit the 255 bytes of a file system."""


@dataclass(frozen=True)
class Claimed:
    """A spec file that is ours: `path` in `jobs/accepted/`, `name` as it was dropped."""

    path: Path
    name: str

    @property
    def source(self) -> str:
        return self.path.name

    def read(self) -> bytes:
        """The file's first MAX_BYTES + 1 bytes: enough to read it or to refuse it."""
        with open(_open(self.path), "rb") as file:
            return file.read(MAX_BYTES + 1)


@dataclass(frozen=True)
class _Sighting:
    """What a file looked like, and when (monotonic seconds) it was first seen to look like that."""

    signature: tuple[int, int, int]
    since: float


class Inbox:
    """`jobs/` of one home. It remembers what it has seen, so that it can tell when a file has settled."""

    def __init__(self, home: Home, settle_seconds: float) -> None:
        self.home = home
        self.settle_seconds = settle_seconds
        self._seen: dict[str, _Sighting] = {}
        self._reported: set[str] = set()

    def due_in(self, now: float | None = None) -> float | None:
        """In how many seconds a file that was seen may be complete; None when none is waited for."""
        now = time.monotonic() if now is None else now
        if not self._seen:
            return None
        first = min(seen.since + self._patience(seen.signature[0]) for seen in self._seen.values())
        return first - now if first > now else self.settle_seconds / 2  # overdue: it is still open for writing

    def complete(self, now: float | None = None) -> list[str]:
        """Names of the files that can be claimed, oldest first. `now`: monotonic seconds. Raises OSError."""
        now = time.monotonic() if now is None else now
        found: dict[str, _Sighting] = {}
        present: set[str] = set()
        ready: list[tuple[int, str]] = []
        with os.scandir(self.home.jobs) as entries:
            for entry in entries:
                present.add(entry.name)
                info = self._candidate(entry)
                if info is None:
                    continue
                signature = (info.st_size, info.st_mtime_ns, info.st_ino)
                seen = self._seen.get(entry.name)
                if seen is None or seen.signature != signature:
                    seen = _Sighting(signature, now)
                if now - seen.since >= self._patience(info.st_size) and not self._being_written(entry.name):
                    ready.append((info.st_mtime_ns, entry.name))
                    continue
                found[entry.name] = seen
                if now - seen.since > STILL_WRITTEN_SECONDS:
                    self._report(entry.name, "has not changed for a while but is still open for writing: waiting")
        self._seen = found
        self._reported &= present
        return [name for _, name in sorted(ready)]

    def claim(self, name: str) -> Claimed | None:
        """Take the file for ourselves; None when it is gone or cannot be read (it stays, and is reported once)."""
        source = self.home.jobs / name
        try:
            os.close(_open(source))
            target = self.home.accepted / f"{ULID()}-{short(name)}"
            os.rename(source, target)  # over nothing: the prefix is new
        except FileNotFoundError:
            return None
        except OSError as error:
            self._report(name, f"cannot be claimed and stays in {self.home.jobs}: {error.strerror or error}")
            return None
        _sync(self.home.accepted)
        _sync(self.home.jobs)
        return Claimed(target, name)

    def unrecorded(self, recorded: set[str]) -> list[Claimed]:
        """Claimed files without a job: a crash came between the rename and the row."""
        with os.scandir(self.home.accepted) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if entry.name not in recorded and CLAIMED.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            )
        return [Claimed(self.home.accepted / name, name[ULID_LENGTH + 1 :]) for name in names]

    def reject(self, claimed: Claimed, lines: tuple[str, ...]) -> Path:
        """Move a claimed file to `jobs/rejected/`, with `<name>.error.txt` beside it. Where it went."""
        target = _unused(self.home.rejected, claimed.name, ".error.txt")
        error = target.with_name(f"{target.name}.error.txt")
        error.write_text("\n".join(lines) + "\n", encoding="utf-8")
        os.rename(claimed.path, target)
        return target

    def _patience(self, size: int) -> float:
        return self.settle_seconds * (EMPTY_PATIENCE if size == 0 else 1)

    def _candidate(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        name = entry.name
        if name.startswith(".") or name.lower().endswith(LEAVINGS) or (name.startswith("#") and name.endswith("#")):
            return None
        if entry.is_dir(follow_symlinks=False):
            if name not in (self.home.accepted.name, self.home.rejected.name):
                self._report(name, "is a folder and is left alone: drop spec files themselves")
            return None
        try:
            name.encode()
        except UnicodeEncodeError:
            self._report(name, "has a name that is not UTF-8 and is left alone")
            return None
        try:
            info = entry.stat(follow_symlinks=False)
        except OSError:  # it went away meanwhile
            return None
        if not stat.S_ISREG(info.st_mode):
            self._report(name, "is not a regular file and is left alone: copy the spec itself")
            return None
        return info

    def _being_written(self, name: str) -> bool:
        try:
            descriptor = _open(self.home.jobs / name)
        except OSError:
            return False  # `claim` says what is wrong with it
        try:
            return _has_writer(descriptor)
        finally:
            os.close(descriptor)

    def _report(self, name: str, what: str) -> None:
        """Say it once for as long as the file is there."""
        if name not in self._reported:
            self._reported.add(name)
            log.warning("%s %s", clip(ascii(name), 120), what)


def submit(home: Home, document: Mapping[str, Any], name: str) -> Path:
    """Put a spec (paths absolute) into `jobs/` as JSON, whole at once and over nothing; the file it became.

    Works with no daemon running. `name` is the spec file's; the file is `<its stem>.json`, or `-2`, `-3`.
    """
    home.jobs.mkdir(parents=True, exist_ok=True)
    beside = home.jobs / f".{ULID()}.tmp"
    with beside.open("x", encoding="utf-8") as file:
        json.dump(document, file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    stem = short(PurePath(name).stem.lstrip(".") or "job")
    try:
        for number in range(1, 10_000):
            target = home.jobs / (f"{stem}.json" if number == 1 else f"{stem}-{number}.json")
            if _rename_new(beside, target):
                _sync(home.jobs)
                return target
        raise FileExistsError(errno.EEXIST, f"{home.jobs} is full of files called {stem}-*.json")
    finally:
        beside.unlink(missing_ok=True)


def short(name: str) -> str:
    """`name` cut to MAX_NAME_BYTES, keeping its suffix."""
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    suffix = PurePath(name).suffix if len(PurePath(name).suffix) < 10 else ""
    kept = name.encode()[: MAX_NAME_BYTES - len(suffix.encode())].decode("utf-8", "ignore")
    return kept + suffix


def _open(path: Path) -> int:
    """A descriptor of a regular file: no symlink is followed, no FIFO waited for. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def _has_writer(descriptor: int) -> bool:
    """Whether anyone has the file open for writing. Linux can tell, by refusing a lease; elsewhere False."""
    if sys.platform != "linux":
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # a broken lease's default signal would end us
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN  # others: not our file, or a file system without leases
    return False


def _rename_new(source: Path, target: Path) -> bool:
    """Give `source` the name `target`, whole at once; False when that is taken."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if target.exists():
            return False
        os.rename(source, target)
    return True


def _unused(folder: Path, name: str, companion: str) -> Path:
    """A path in `folder` for `name`, numbered when it, or its companion, is there."""
    kept = PurePath(short(name))
    number = 1
    while True:
        target = folder / (kept.name if number == 1 else f"{kept.stem}-{number}{kept.suffix}")
        if not os.path.lexists(target) and not os.path.lexists(f"{target}{companion}"):
            return target
        number += 1


def _sync(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
