"""The watched folder: which files are complete, claiming them, and setting the bad ones aside.

A claim is one rename into `jobs/accepted/`; nothing is read as a spec before it. A file is complete when its size,
time and inode have not changed for the settle time and (where Linux can tell) nobody has it open for writing: as it is
found, when it is claimed, and once more after the rename, when nobody new can come by its old name. One that was still
written then waits in `accepted/`. Names, not contents, decide who is a candidate: dotfiles and editors' leavings are
passed over, and whatever is not a regular file is never opened.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from ulid import ULID

from prefd.cache.segments.durable import whole_file
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import has_writer, open_regular, short, sync_folder
from prefd.daemon.text.wording import clip
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)

LEAVINGS = ("~", ".swp", ".swx", ".tmp", ".temp", ".partial", ".part", ".crdownload", ".bak", ".orig", ".lock")
EMPTY_PATIENCE = 4.0
"""An empty file is most often one whose writer has not flushed yet: it gets this many settle times."""
STILL_WRITTEN_SECONDS = 30.0
STILL_WRITTEN = "has not changed for a while but is still open for writing: waiting"
ULID_LENGTH = 26
CLAIMED = re.compile(r"[0-9A-Z]{26}-[^\ud800-\udfff]+", re.DOTALL)
"""An accepted file's name: a ULID, and the name as it was dropped (which was UTF-8)."""

Signature = tuple[int, int, int]
"""A file's size, time and inode. The time only as something that changes: clocks are set back."""


@dataclass(frozen=True)
class Claimed:
    """A spec file that is ours: `path` in `jobs/accepted/`, `name` as it was dropped."""

    path: Path
    name: str

    @classmethod
    def of(cls, path: Path) -> Claimed:
        """The claimed file at `path` in `jobs/accepted/`, whose name there begins with a ULID."""
        return cls(path, path.name[ULID_LENGTH + 1 :])

    @property
    def source(self) -> str:
        """Its name in the job table."""
        return self.path.name

    def read(self, limit: int) -> bytes:
        """The file's first `limit` + 1 bytes: enough to read it, or to refuse it for being larger. Raises OSError."""
        with open(open_regular(self.path), "rb") as file:
            return file.read(limit + 1)


@dataclass(frozen=True)
class _Sighting:
    """What a file looked like, and when (monotonic seconds) it was first seen to look like that."""

    signature: Signature
    since: float


class Inbox:
    """`jobs/` of one home. It remembers what it has seen, so that it can tell when a file has settled."""

    def __init__(self, home: Home, settle_seconds: float, timing: Timing = USUAL) -> None:
        self.home = home
        self.settle_seconds = settle_seconds
        self.timing = timing
        self.can_tell_writers = True
        """False on a network mount; then the settle time has to do."""
        self.noticed = 0
        """How often something new was seen."""
        self._seen: dict[str, _Sighting] = {}
        self._settled: dict[str, Signature] = {}
        self._kept: dict[str, tuple[Claimed, _Sighting]] = {}
        self._reported: dict[str, str] = {}

    @property
    def left_alone(self) -> dict[str, str]:
        """What lies here and is no job, by its printable name: why."""
        return {clip(ascii(name), 120): what for name, what in list(self._reported.items())}

    def due_in(self, now: float | None = None) -> float | None:
        """In how many seconds a file that was seen may be complete; None when none is waited for."""
        now = time.monotonic() if now is None else now
        moments = [seen.since + self._patience(seen.signature) for seen in self._seen.values()]
        moments += [seen.since + self._patience(seen.signature) for _, seen in self._kept.values()]
        if not moments:
            return None
        first = min(moments)
        return first - now if first > now else self.settle_seconds / 2  # overdue: it is still open for writing

    def complete(self, now: float | None = None) -> list[str]:
        """Names of the files that can be claimed, oldest first. `now`: monotonic seconds. Raises OSError."""
        now = time.monotonic() if now is None else now
        waiting: dict[str, _Sighting] = {}
        present: set[str] = set(self._kept)
        ready: list[tuple[int, str]] = []
        with os.scandir(self.home.jobs) as entries:
            for entry in entries:
                present.add(entry.name)
                info = self._candidate(entry)
                if info is None:
                    continue
                seen = self._seen.get(entry.name)
                if seen is None or seen.signature != _signature(info):
                    seen = _Sighting(_signature(info), now - self._noticed_late(info))
                    self.noticed += entry.name not in self._reported
                if self._is_complete(entry.name, self.home.jobs / entry.name, seen, now):
                    ready.append((info.st_mtime_ns, entry.name))
                    self._settled[entry.name] = seen.signature
                else:
                    waiting[entry.name] = seen
        self._seen = waiting
        self._settled = {name: self._settled[name] for _, name in ready}
        self._reported = {name: what for name, what in self._reported.items() if name in present}
        return [name for _, name in sorted(ready)]

    def claim(self, name: str) -> Claimed | None:
        """Take the file for ourselves.

        None when it is gone, has changed since it was complete, is still written, or cannot be claimed: then it stays,
        is reported once, and is tried again whenever it is complete.
        """
        source = self.home.jobs / name
        claimed = Claimed(self.home.accepted / f"{ULID()}-{short(name)}", name)
        try:
            descriptor = open_regular(source)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._cannot_claim(name, error)
            return None
        try:
            return self._claim(name, source, claimed, descriptor)
        finally:
            os.close(descriptor)

    def _claim(self, name: str, source: Path, claimed: Claimed, descriptor: int) -> Claimed | None:
        before = _signature(os.fstat(descriptor))
        if self._settled.get(name, before) != before or self._has_writer(descriptor):
            self._seen[name] = _Sighting(before, time.monotonic())
            return None
        try:
            os.fsync(descriptor)  # a claim that outlives a power cut is of the content that was seen
            os.rename(source, claimed.path)  # over nothing: the prefix is new
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self._cannot_claim(name, error)
            if not os.path.lexists(claimed.path):  # NFS may say so of a rename that was done, when its answer was lost
                return None
        try:
            self._make_durable()
            now = _signature(os.stat(claimed.path, follow_symlinks=False))
        except OSError as error:
            self.keep(claimed, f"is claimed, and is tried again: {error.strerror or error}")
            return None
        if now != before or self._has_writer(descriptor):
            self.keep(claimed)
            return None
        self._reported.pop(name, None)
        return claimed

    def keep(self, claimed: Claimed, why: str = "", now: float | None = None) -> None:
        """Have a claimed file come back from `kept`, once it has settled (again); `why` is told once."""
        signature = (-1, -1, -1)  # of a file that cannot be looked at
        with suppress(OSError):
            signature = _signature(os.stat(claimed.path, follow_symlinks=False))
        self._kept[claimed.source] = claimed, _Sighting(signature, time.monotonic() if now is None else now)
        if why:
            self._report(claimed.source, why)

    def kept(self, now: float | None = None) -> list[Claimed]:
        """The claimed files that can be taken in now, oldest claim first; `keep` those that cannot after all.

        Raises OSError.
        """
        now = time.monotonic() if now is None else now
        ready: list[Claimed] = []
        for source, (claimed, seen) in sorted(self._kept.items()):
            try:
                signature = _signature(os.stat(claimed.path, follow_symlinks=False))
            except FileNotFoundError:  # someone took it out of accepted/
                del self._kept[source]
                continue
            if seen.signature != signature:
                seen = _Sighting(signature, now)
            if self._is_complete(source, claimed.path, seen, now):
                ready.append(claimed)
                del self._kept[source]
            else:
                self._kept[source] = claimed, seen
        try:
            if ready:
                self._make_durable()
        except OSError as error:
            for claimed in ready:
                self.keep(claimed, f"is claimed, and is tried again: {error.strerror or error}", now)
            return []
        return ready

    def keep_unrecorded(self, recorded: set[str]) -> None:
        """Keep the claimed files without a job: a crash came between the rename and the row. Raises OSError."""
        with os.scandir(self.home.accepted) as entries:
            names = [
                entry.name
                for entry in entries
                if entry.name not in recorded
                and entry.name not in self._kept
                and CLAIMED.fullmatch(entry.name)
                and entry.is_file(follow_symlinks=False)
            ]
        for name in names:
            self.keep(Claimed.of(self.home.accepted / name))

    def taken_in(self, claimed: Claimed) -> None:
        """It is a job now, or rejected."""
        self._reported.pop(claimed.source, None)

    def reject(self, claimed: Claimed, lines: tuple[str, ...]) -> Path:
        """Move a claimed file to `jobs/rejected/`, with `<name>.error.txt` beside it. Where it went. Raises OSError.

        The reason is there, whole, before the file is. One that lies there without its file is of a crash between the
        two, or of a file that was taken out again: it is replaced.
        """
        target = _unused(self.home.rejected, claimed.name)
        beside = self.home.rejected / f".{ULID()}.tmp"
        with whole_file(self.home.refusal(target.name), beside, durable=False) as file:
            file.write(("\n".join(lines) + "\n").encode())
        os.rename(claimed.path, target)
        return target

    def _make_durable(self) -> None:
        """Else a power cut could undo the rename of a file whose job has been written down: it would run twice."""
        sync_folder(self.home.accepted)
        sync_folder(self.home.jobs)

    def _noticed_late(self, info: os.stat_result) -> float:
        """For how many seconds the file has been as it is, by a clock that may have been set: so only up to a bound."""
        if not self.can_tell_writers:  # the clock is another machine's
            return 0.0
        return max(0.0, min(time.time() - info.st_ctime, self.timing.late_notice, self.settle_seconds / 2))

    def _patience(self, signature: Signature) -> float:
        return self.settle_seconds * (EMPTY_PATIENCE if signature[0] == 0 else 1)

    def _is_complete(self, name: str, path: Path, seen: _Sighting, now: float) -> bool:
        if now - seen.since < self._patience(seen.signature):
            return False
        try:
            descriptor = open_regular(path)
        except OSError:
            return True  # `claim` says what is wrong with it
        try:
            if not self._has_writer(descriptor):
                return True
        finally:
            os.close(descriptor)
        if now - seen.since > STILL_WRITTEN_SECONDS:
            self._report(name, STILL_WRITTEN)
        return False

    def _has_writer(self, descriptor: int) -> bool:
        return self.can_tell_writers and has_writer(descriptor)

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

    def _cannot_claim(self, name: str, error: OSError) -> None:
        self._report(name, f"cannot be claimed and stays in {self.home.jobs}: {error.strerror or error}")

    def _report(self, name: str, what: str) -> None:
        """Say it once for as long as the file is there, and it is so."""
        if self._reported.get(name) != what:
            self._reported[name] = what
            log.warning("%s %s", clip(ascii(name), 120), what)


def _signature(info: os.stat_result) -> Signature:
    return info.st_size, info.st_mtime_ns, info.st_ino


def _unused(folder: Path, name: str) -> Path:
    """A path in `folder` for `name`, numbered when it is there."""
    kept = PurePath(short(name))
    number = 1
    while True:
        target = folder / (kept.name if number == 1 else f"{kept.stem}-{number}{kept.suffix}")
        if not os.path.lexists(target):
            return target
        number += 1
