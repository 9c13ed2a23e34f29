"""Inbox finds the complete files in the watched folder, claims them, and sets the bad ones aside.

A claim is one rename into `jobs/accepted/`; nothing is read as a spec before it. A file is complete when its size,
time and inode have not changed for the settle time and (where Linux can tell) nobody has it open for writing. This is
checked when the file is listed, when it is claimed, and once more after the rename, when nobody can open it by its old name
any more. A file that was still written then waits in `accepted/`. Candidates are chosen by name (`non_specs`): what programs and
people leave beside specs stays where it is, as do rows in a `.json` file; what is not a regular file is never opened.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from ulid import ULID

from prefd.cache.segments.durable import flush, flush_descriptor, flush_for_good, whole_file
from prefd.daemon.home.layout import Home
from prefd.daemon.inbox.claim_marks import (
    ULID_LENGTH,
    is_marked,
    make_mark,
    remove_mark,
    remove_stale_marks,
)
from prefd.daemon.inbox.claimed_file import CLAIMED, Claimed, describe_unknown_claim
from prefd.daemon.inbox.non_specs import START_BYTES, explain_copy, explain_name, explain_start, find_original
from prefd.daemon.machine.cloud import ASKED_FOR, IN_CLOUD, find_named, find_placeholder, is_dataless, request_download
from prefd.daemon.machine.files import has_writer, open_regular, shorten_name
from prefd.daemon.machine.owners import explain_rights, is_refusal
from prefd.daemon.text.wording import clip
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)

TRIED_AGAIN = "is claimed, and is tried again: "
CLOUD_LOOK_SECONDS = 5.0
"""Between two looks at whether a claimed file is back that a cloud has taken away."""
EMPTY_PATIENCE = 4.0
"""An empty file is most often one whose writer has not flushed yet: it gets this many settle times."""
STILL_WRITTEN_SECONDS = 30.0
STILL_WRITTEN = "has not changed for a while but is still open for writing: waiting"
Signature = tuple[int, int, int]
"""A file's size, time and inode. The time only as something that changes: clocks are set back."""


@dataclass(frozen=True)
class _Sighting:
    """A file's signature, and since when (monotonic seconds) it has had it."""

    signature: Signature
    since: float


class Inbox:
    """Lists, claims and rejects files in `jobs/` of one home; it remembers their signatures, to tell when one settles."""

    def __init__(self, home: Home, settle_seconds: float, timing: Timing = USUAL) -> None:
        self.home = home
        self.settle_seconds = settle_seconds
        self.timing = timing
        self.can_tell_writers = True
        """False on a network mount; then the settle time has to do."""
        self.noticed = 0
        """How many new or changed files were noticed."""
        self._sightings: dict[str, _Sighting] = {}
        self._settled: dict[str, Signature] = {}
        self._kept_claims: dict[str, tuple[Claimed, _Sighting]] = {}
        self._reported: dict[str, str] = {}

    @property
    def left_alone(self) -> dict[str, str]:
        """Return the reasons why files in the folder are no jobs, by printable name."""
        return {clip(repr(name), 120): reason for name, reason in list(self._reported.items())}

    def due_in(self, now: float | None = None) -> float | None:
        """Return in how many seconds a file may be complete; None when none is waited for."""
        now = time.monotonic() if now is None else now
        moments = [sighting.since + self._patience(sighting.signature) for sighting in self._sightings.values()]
        moments += [sighting.since + self._patience(sighting.signature) for _, sighting in self._kept_claims.values()]
        if not moments:
            return None
        first = min(moments)
        return first - now if first > now else self.settle_seconds / 2  # overdue: it is still open for writing

    def list_complete(self, now: float | None = None) -> list[str]:
        """List the names of the files that can be claimed, oldest first. `now`: monotonic seconds. Raises OSError."""
        now = time.monotonic() if now is None else now
        waiting: dict[str, _Sighting] = {}
        present: set[str] = set(self._kept_claims)
        ready: list[tuple[int, str]] = []
        with os.scandir(self.home.jobs) as entries:
            for entry in entries:
                present.add(entry.name)
                info = self._check_candidate(entry)
                if info is None:
                    continue
                sighting = self._sightings.get(entry.name)
                if sighting is None or sighting.signature != _signature(info):
                    sighting = _Sighting(_signature(info), now - self._measure_delay(info))
                    self.noticed += entry.name not in self._reported
                if self._is_complete(entry.name, self.home.jobs / entry.name, sighting, now):
                    ready.append((info.st_mtime_ns, entry.name))
                    self._settled[entry.name] = sighting.signature
                else:
                    waiting[entry.name] = sighting
        self._sightings = waiting
        self._settled = {name: self._settled[name] for _, name in ready}
        self._reported = {name: reason for name, reason in self._reported.items() if name in present}
        return [name for _, name in sorted(ready)]

    def claim(self, name: str) -> Claimed | None:
        """Claim the file by a rename into `jobs/accepted/`.

        None when it is gone, has changed since it was complete, is still written, or cannot be claimed. A file that
        cannot be claimed stays, is reported once, and is tried again whenever it is complete.
        """
        source = self.home.jobs / name
        claimed = Claimed(self.home.accepted / f"{ULID()}-{shorten_name(name)}", name)
        try:
            descriptor = open_regular(source)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._report_refusal(name, error)
            return None
        try:
            return self._claim(name, source, claimed, descriptor)
        finally:
            os.close(descriptor)

    def _claim(self, name: str, source: Path, claimed: Claimed, descriptor: int) -> Claimed | None:
        """Rename the open file, after a last look before and behind the rename that nobody writes to it."""
        info = os.fstat(descriptor)
        if self._is_in_cloud(name, info):
            return None
        before = _signature(info)
        if self._settled.get(name, before) != before or self._has_writer(descriptor):
            self._sightings[name] = _Sighting(before, time.monotonic())
            return None
        try:
            reason = explain_start(name, os.pread(descriptor, START_BYTES, 0))
        except OSError as error:
            self._report_refusal(name, error)
            return None
        if reason is not None:
            self._report(name, reason)
            return None
        try:
            flush_descriptor(descriptor)  # a claim that outlives a power cut is of the content that was complete
            make_mark(claimed.path)
            os.rename(source, claimed.path)  # over nothing: the prefix is new
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self._report_refusal(name, error)
            if not os.path.lexists(claimed.path):  # NFS may say so of a rename that was done, when its answer was lost
                with suppress(OSError):
                    remove_mark(claimed.path)
                return None
        try:
            self._make_durable()
            now = _signature(os.stat(claimed.path, follow_symlinks=False))
        except OSError as error:
            self.keep(claimed, f"{TRIED_AGAIN}{error.strerror or error}")
            return None
        if now != before or self._has_writer(descriptor):
            self.keep(claimed)
            return None
        self._reported.pop(name, None)
        return claimed

    def keep(self, claimed: Claimed, reason: str = "", now: float | None = None) -> None:
        """Have a claimed file come back from `take_settled`, once it has settled (again); `reason` is reported once."""
        signature = (-1, -1, -1)  # of a file that cannot be looked at
        with suppress(OSError):
            signature = _signature(os.stat(claimed.path, follow_symlinks=False))
        self._kept_claims[claimed.source] = claimed, _Sighting(signature, time.monotonic() if now is None else now)
        if reason:
            self._report(claimed.source, reason)

    def take_settled(self, now: float | None = None) -> list[Claimed]:
        """Return the kept files that have settled, oldest claim first. The caller keeps again those that still cannot be used.

        Raises OSError.
        """
        now = time.monotonic() if now is None else now
        ready: list[Claimed] = []
        for source, (claimed, sighting) in sorted(self._kept_claims.items()):
            try:
                signature = _signature(os.stat(claimed.path, follow_symlinks=False))
            except FileNotFoundError:
                del self._kept_claims[source]  # it was taken out of accepted/ by hand, or is in the cloud
                if find_placeholder(claimed.path) is not None:
                    self.keep(claimed, f"{TRIED_AGAIN}{claimed.path} {IN_CLOUD}", now + CLOUD_LOOK_SECONDS)
                continue
            if sighting.signature != signature:
                sighting = _Sighting(signature, now)
            if self._is_complete(source, claimed.path, sighting, now):
                ready.append(claimed)
                del self._kept_claims[source]
            else:
                self._kept_claims[source] = claimed, sighting
        try:
            if ready:
                self._make_durable()
        except OSError as error:
            for claimed in ready:
                self.keep(claimed, f"{TRIED_AGAIN}{error.strerror or error}", now)
            return []
        return ready

    def keep_claims_without_jobs(self, recorded: set[str]) -> None:
        """Keep the claimed files without a job, those to be held that once had one. Raises OSError.

        Of the others a crash came between the rename and the row.
        """
        with os.scandir(self.home.accepted) as entries:
            files = {find_named(entry.name) or entry.name: entry for entry in entries}
        names = [
            name
            for name, entry in files.items()
            if name not in recorded
            and name not in self._kept_claims
            and CLAIMED.fullmatch(name)
            and entry.is_file(follow_symlinks=False)
        ]
        remove_stale_marks(self.home.accepted, files, {*names, *self._kept_claims})
        for name in names:
            claimed = Claimed.from_path(self.home.accepted / name)
            self.keep(claimed if is_marked(claimed.path) else replace(claimed, hold=describe_unknown_claim(claimed)))

    def confirm(self, claimed: Claimed) -> None:
        """Note that the claim has come to its end: its jobs are in the database, or it was rejected."""
        with suppress(OSError):  # then the next daemon finds its jobs, and nothing hangs on the mark
            remove_mark(claimed.path)

    def forget_report(self, claimed: Claimed) -> None:
        """Forget what was reported of a claimed file, which is a job now, or rejected."""
        self._reported.pop(claimed.source, None)

    def reject(self, claimed: Claimed, lines: tuple[str, ...]) -> Path:
        """Move a claimed file to `jobs/rejected/`, with `<name>.error.txt` beside it; return its path. Raises OSError.

        The reason is written in full before the file is moved. A reason without its file is of a crash between the two, or
        of a file that was taken out again, so it is replaced.
        """
        target = _choose_unused_path(self.home.rejected, claimed.name)
        beside = self.home.rejected / f".{ULID()}.tmp"
        with whole_file(self.home.refusal(target.name), beside, durable=False) as file:
            file.write(("\n".join(lines) + "\n").encode())
        os.rename(claimed.path, target)
        self.confirm(claimed)
        return target

    def _make_durable(self) -> None:
        """Flush the folders, so that no power cut can undo the rename of a file whose job is in the table: it would run twice."""
        flush(self.home.accepted)
        flush_for_good(self.home.jobs)

    def _measure_delay(self, info: os.stat_result) -> float:
        """Return for how many seconds the file has been as it is, up to a bound, since the clock may have been set."""
        if not self.can_tell_writers:  # the clock is another machine's
            return 0.0
        return max(0.0, min(time.time() - info.st_ctime, self.timing.late_notice, self.settle_seconds / 2))

    def _patience(self, signature: Signature) -> float:
        return self.settle_seconds * (EMPTY_PATIENCE if signature[0] == 0 else 1)

    def _is_complete(self, name: str, path: Path, sighting: _Sighting, now: float) -> bool:
        """Return whether a file has settled and nobody writes to it; one that is open for long is reported."""
        if now - sighting.since < self._patience(sighting.signature):
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
        if now - sighting.since > STILL_WRITTEN_SECONDS:
            self._report(name, STILL_WRITTEN)
        return False

    def _has_writer(self, descriptor: int) -> bool:
        return self.can_tell_writers and has_writer(descriptor)

    def _check_candidate(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        """Return the status of a file that may be a spec; None, with a report where users should know, for another."""
        name = entry.name
        reason = explain_name(name)
        if reason == "":
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
        if reason is None and (original := find_original(name)) is not None and self._was_dropped(original):
            reason = explain_copy(original)
        if reason is not None and entry.is_file(follow_symlinks=False):
            self._report(name, reason)
            return None
        try:
            info = entry.stat(follow_symlinks=False)
        except OSError:  # it went away meanwhile
            return None
        if not stat.S_ISREG(info.st_mode):
            self._report(name, "is not a regular file and is left alone: copy the spec itself")
            return None
        return None if self._is_in_cloud(name, info) else info

    def _is_in_cloud(self, name: str, info: os.stat_result) -> bool:
        """Return whether a file's contents are in a cloud, and ask for them: no read of it is to hold up the other files."""
        if not is_dataless(info):
            return False
        self._report(name, ASKED_FOR)
        request_download(self.home.jobs / name)
        return True

    def _was_dropped(self, name: str) -> bool:
        """Return whether a file of this name is in the folder, or was claimed from it. Raises OSError."""
        if (self.home.jobs / name).exists():
            return True
        with os.scandir(self.home.accepted) as claims:
            return any(claim.name[ULID_LENGTH + 1 :] == name for claim in claims)

    def _report_refusal(self, name: str, error: OSError) -> None:
        rights = explain_rights(self.home.jobs / name) if is_refusal(error) else ""
        self._report(name, f"cannot be claimed and stays in {self.home.jobs}: {error.strerror or error}{rights}")

    def _report(self, name: str, reason: str) -> None:
        """Log the reason once for as long as the file is there, and the reason holds."""
        if self._reported.get(name) != reason:
            self._reported[name] = reason
            log.warning("%s %s", clip(repr(name), 120), reason)


def _signature(info: os.stat_result) -> Signature:
    return info.st_size, info.st_mtime_ns, info.st_ino


def _choose_unused_path(folder: Path, name: str) -> Path:
    """Return a path in `folder` for `name`, numbered when that name is in use."""
    short_name = PurePath(shorten_name(name))
    number = 1
    while True:
        target = folder / (short_name.name if number == 1 else f"{short_name.stem}-{number}{short_name.suffix}")
        if not os.path.lexists(target):
            return target
        number += 1
