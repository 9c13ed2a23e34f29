"""Intake claims the files that are dropped into `jobs/`, hands them to the admission, and tries again after a disk's trouble.

It reads no spec: the admission decides what becomes of a claimed file. No error of a file system ends its loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Protocol

from prefd.daemon.errors import PrefdError
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import WatchConfig
from prefd.daemon.inbox.availability import FolderUnusable, WatchedFolder
from prefd.daemon.inbox.claimed_file import Claimed
from prefd.daemon.inbox.claims import TRIED_AGAIN, Inbox
from prefd.daemon.inbox.folder_calls import FolderCalls, StopIntake
from prefd.daemon.inbox.watcher import Watcher
from prefd.daemon.machine.cloud import InCloud
from prefd.daemon.machine.files import can_tell_writers
from prefd.daemon.text.wording import clip
from prefd.daemon.timing import USUAL, Timing
from prefd.plugins.errors import describe_exception

log = logging.getLogger(__name__)

CLAIMS = 32
"""Files claimed at a time, before they are handed on."""


class Admits(Protocol):
    """Makes jobs of claimed files."""

    def admitted(self) -> set[str]:
        """Return the names of the claimed files that have jobs."""
        ...

    async def admit(self, claimed: Claimed) -> None:
        """Make jobs of a claimed file, or reject it. After any exception the file is kept, and handed over again."""
        ...


class Intake:
    """Claims the dropped files of one home, and hands them to `admission`."""

    def __init__(
        self,
        home: Home,
        config: WatchConfig,
        inbox: Inbox,
        calls: FolderCalls,
        admission: Admits,
        timing: Timing = USUAL,
    ) -> None:
        self.config = config
        self.inbox = inbox
        self.calls = calls
        self.admission = admission
        self.timing = timing
        self.changed = asyncio.Event()
        self.folder = WatchedFolder(home)
        self.watcher = Watcher(home.jobs, config, self.changed, calls.health, timing)
        self.health = calls.health

    async def run(self) -> None:
        """Take files in until the stop is requested."""
        with suppress(StopIntake), self.calls.stop.listening(self.changed):
            while not self.calls.stop.is_set():
                self.changed.clear()
                try:
                    await self._take_in()
                except Exception as error:
                    self.folder.forget()  # so that files claimed before the failure are looked for again
                    if not isinstance(error, FolderUnusable | OSError):
                        raise
                    self.folder.require_home()  # or the trouble is the home's
                    self.calls.tell_trouble(_describe_error(error))
                    wait = min(self.timing.folder_trouble_retry, self.config.rescan_seconds)
                else:
                    self.calls.tell_trouble(None)
                    due = self.inbox.due_in()
                    wait = self.config.rescan_seconds if due is None else min(due, self.config.rescan_seconds)
                self.health.left_alone = self.inbox.left_alone
                self.calls.alive(wait)
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self.changed.wait()

    async def _take_in(self) -> None:
        """Claim and hand on every complete file in the folder. Raises FolderUnusable, OSError, StopIntake."""
        noticed = self.inbox.noticed
        while (look := await self.calls.make(self._look)) is None:
            self._adapt_to_mount(self.folder.is_remote)
            await self.calls.make(self.inbox.keep_claims_without_jobs, self.admission.admitted())
        self.health.last_rescan = time.time()
        if self.inbox.noticed > noticed and self.health.mode == "polling":
            self.health.last_event = time.time()
        claims, names = look
        await self._hand_on(claims)
        for start in range(0, len(names), CLAIMS):
            await self._hand_on(await self.calls.make(self._claim, names[start : start + CLAIMS]))

    def _look(self) -> tuple[list[Claimed], list[str]] | None:
        """Claim a first few files, and return them with the names of the others; None where the folder is a new one.

        This is one call, because each turn of the event loop costs milliseconds while a job trains.
        """
        if self.folder.check():
            return None
        names = self.inbox.list_complete()
        return self.inbox.take_settled() + self._claim(names[:CLAIMS]), names[CLAIMS:]

    def _claim(self, names: list[str]) -> list[Claimed]:
        return [claimed for claimed in map(self.inbox.claim, names) if claimed is not None]

    async def _hand_on(self, claims: list[Claimed]) -> None:
        """Hand claimed files to the admission, and keep those that it cannot take in now. Raises StopIntake."""
        for claimed in claims:
            if self.calls.stop.is_set():  # the next daemon finds it, as after a crash
                raise StopIntake
            try:
                await self.admission.admit(claimed)
            except StopIntake:
                raise
            except Exception as error:  # the file is a job's only trace, so it is kept
                log.debug("%s", claimed.source, exc_info=error)
                # what the whole machine lacks comes back no sooner for being looked at for each file
                later = self.config.rescan_seconds if isinstance(error, PrefdError | InCloud) else 0.0
                reason = f"{TRIED_AGAIN}{_describe_error(error)}"
                await self.calls.make(self.inbox.keep, claimed, reason, time.monotonic() + later)
            else:
                self.inbox.forget_report(claimed)

    def take_up(self, config: WatchConfig) -> None:
        """Go on with these settings."""
        self.config = self.watcher.config = config
        self._adapt_to_mount(self.folder.is_remote)
        self.changed.set()

    def _adapt_to_mount(self, is_remote: bool) -> None:
        """Choose the settle time: a file is harder to tell complete on a network mount, and where nobody knows who writes to it."""
        self.inbox.can_tell_writers = not is_remote
        settle = self.config.settle_seconds
        if "settle_seconds" not in self.config.model_fields_set:
            if is_remote:
                settle = max(settle, self.timing.network_settle)
            elif not can_tell_writers():
                settle = max(settle, self.timing.unseen_writer_settle)
        self.inbox.settle_seconds = settle


def _describe_error(error: Exception) -> str:
    if isinstance(error, InCloud):
        return str(error)
    if isinstance(error, OSError):
        return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    if isinstance(error, PrefdError):
        return str(error)
    return clip(describe_exception(error), 300)
