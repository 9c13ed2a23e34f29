"""Intake takes in what is dropped into `jobs/`: look, claim, hand on; and try again what a disk or a mount refused.

It knows no spec: what becomes of a claimed file is the admission's. Nothing that a file system can do ends its loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Protocol

from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import WatchConfig
from prefd.daemon.inbox.availability import FolderUnusable, WatchedFolder
from prefd.daemon.inbox.claims import Claimed, Inbox
from prefd.daemon.inbox.folder_calls import FolderCalls, StopIntake
from prefd.daemon.inbox.watcher import Watcher
from prefd.daemon.text.wording import clip
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)

CLAIMS = 32
"""Files claimed at a time, before they are handed on."""


class Admits(Protocol):
    """Makes jobs of claimed files."""

    def admitted(self) -> set[str]:
        """The names of the claimed files that have jobs."""
        ...

    async def admit(self, claimed: Claimed) -> None:
        """Make it jobs, or reject it. Whatever this raises, the file is kept and handed over again."""
        ...


class Intake:
    """Of one home: it hands what it claims to `admission`."""

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
        """Until the stop."""
        with suppress(StopIntake), self.calls.stop.listening(self.changed):
            while not self.calls.stop.is_set():
                self.changed.clear()
                try:
                    await self._take_in()
                except Exception as error:
                    self.folder.forget()  # what was claimed before it failed is looked for again
                    if not isinstance(error, FolderUnusable | OSError):
                        raise
                    self.calls.tell_trouble(_told(error))
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
        """One look at the folder, and everything that is complete in it. Raises FolderUnusable, OSError, StopIntake."""
        noticed = self.inbox.noticed
        while (found := await self.calls.make(self._look)) is None:
            self._suit(self.folder.is_remote)
            await self.calls.make(self.inbox.keep_unrecorded, self.admission.admitted())
        self.health.last_rescan = time.time()
        if self.inbox.noticed > noticed and self.health.mode == "polling":
            self.health.last_event = time.time()
        taken, names = found
        await self._hand_on(taken)
        for at in range(0, len(names), CLAIMS):
            await self._hand_on(await self.calls.make(self._claim, names[at : at + CLAIMS]))

    def _look(self) -> tuple[list[Claimed], list[str]] | None:
        """What can be handed on now, and the names of what can be claimed besides; None where the folder is a new one.

        In one go, because each turn of the loop costs milliseconds while a job trains.
        """
        if self.folder.check():
            return None
        names = self.inbox.complete()
        return self.inbox.kept() + self._claim(names[:CLAIMS]), names[CLAIMS:]

    def _claim(self, names: list[str]) -> list[Claimed]:
        return [claimed for claimed in map(self.inbox.claim, names) if claimed is not None]

    async def _hand_on(self, taken: list[Claimed]) -> None:
        for claimed in taken:
            if self.calls.stop.is_set():  # the next daemon finds it, as after a crash
                raise StopIntake
            try:
                await self.admission.admit(claimed)
            except StopIntake:
                raise
            except Exception as error:  # the file is a job's only trace: it is never let go
                log.debug("%s", claimed.source, exc_info=error)
                await self.calls.make(self.inbox.keep, claimed, f"is claimed, and is tried again: {_told(error)}")
            else:
                self.inbox.taken_in(claimed)

    def _suit(self, is_remote: bool) -> None:
        """What is complete is harder to tell on a network mount."""
        self.inbox.can_tell_writers = not is_remote
        settle = self.config.settle_seconds
        if is_remote and "settle_seconds" not in self.config.model_fields_set:
            settle = max(settle, self.timing.network_settle)
        self.inbox.settle_seconds = settle


def _told(error: Exception) -> str:
    if isinstance(error, OSError):
        return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    if isinstance(error, FolderUnusable):
        return str(error)
    return clip(f"{type(error).__name__}: {error}", 300)
