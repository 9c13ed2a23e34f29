"""The loop that takes in what is dropped into `jobs/`: look, claim, hand on; and try again what a disk or a mount refused.

Every look at the folder is made in a thread, because a network mount may hang: the daemon answers meanwhile, and stops.
Nothing that a file system can do ends the loop. What is wrong is told once, and stands in `prefd status` until it is over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from prefd.daemon.config import WatchConfig
from prefd.daemon.home import Home
from prefd.daemon.inbox import Claimed, Inbox
from prefd.daemon.text import clip
from prefd.daemon.threads import P, T, in_thread
from prefd.daemon.watch import Watcher
from prefd.daemon.watched import FolderUnusable, WatchedFolder

log = logging.getLogger(__name__)

NETWORK_SETTLE_SECONDS = 3.0
"""A network mount shows a file's size and time as they were up to some seconds ago."""
CLAIMS = 32
"""Files claimed at a time, before they are handed on."""
SLOW_SECONDS = 5.0
TICK_SECONDS = 0.2
TROUBLED_SECONDS = 1.0


class Stopping(Exception):
    """The daemon is to stop, whatever the folder does."""


class Intake:
    """Of one home. `recorded`: the names of the claimed files that have a job. `admit`: makes a claimed file jobs, or
    rejects it; whatever it raises, the file is kept and handed over again. `alive`: told before each wait of how many seconds.
    """

    def __init__(
        self,
        home: Home,
        config: WatchConfig,
        recorded: Callable[[], set[str]],
        admit: Callable[[Claimed], Awaitable[None]],
        stopping: Callable[[], bool],
        alive: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.home = home
        self.config = config
        self.recorded = recorded
        self.admit = admit
        self.stopping = stopping
        self.alive = alive
        self.changed = asyncio.Event()
        self.inbox = Inbox(home, config.settle_seconds)
        self.folder = WatchedFolder(home)
        self.watcher = Watcher(home.jobs, config, self.changed)
        self.health = self.watcher.health

    async def run(self) -> None:
        """Until the stop."""
        with suppress(Stopping):
            while not self.stopping():
                self.changed.clear()
                try:
                    await self._take_in()
                except Exception as error:
                    self.folder.forget()  # what was claimed before it failed is looked for again
                    if not isinstance(error, FolderUnusable | OSError):
                        raise
                    self._trouble(_told(error))
                    wait = min(TROUBLED_SECONDS, self.config.rescan_seconds)
                else:
                    self._trouble(None)
                    due = self.inbox.due_in()
                    wait = self.config.rescan_seconds if due is None else min(due, self.config.rescan_seconds)
                self.health.left_alone = self.inbox.left_alone
                self.alive(wait)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), wait)

    async def reject(self, claimed: Claimed, lines: tuple[str, ...]) -> None:
        """Set a claimed file aside, with the reasons beside it. Raises OSError."""
        target = await self.ask(self.inbox.reject, claimed, lines)
        log.warning("rejected %s: %s", clip(target.name, 200), "; ".join(lines))

    async def ask(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`work` on the folder, in a thread. Raises what it raises, and Stopping when it hangs and the daemon is to stop."""
        began = time.monotonic()
        task = asyncio.ensure_future(in_thread(work, *args, **kwargs))
        while not task.done():
            await asyncio.wait({task}, timeout=TICK_SECONDS)
            self.alive(0)  # a mount that hangs is not this loop's doing
            if not task.done() and self.stopping():
                task.cancel()
                raise Stopping
            if not task.done() and time.monotonic() - began > SLOW_SECONDS:
                self._trouble(
                    f"{self.home.jobs}, or what a spec in it names, does not answer: is a network mount's server away?"
                )
        return task.result()

    async def _take_in(self) -> None:
        """One look at the folder, and everything that is complete in it. Raises FolderUnusable, OSError, Stopping."""
        noticed = self.inbox.noticed
        while (found := await self.ask(self._look)) is None:
            self._suit(self.folder.is_remote)
            await self.ask(self.inbox.keep_unrecorded, self.recorded())
        self.health.last_rescan = time.time()
        if self.inbox.noticed > noticed and self.health.mode == "polling":
            self.health.last_event = time.time()
        taken, names = found
        await self._hand_on(taken)
        for at in range(0, len(names), CLAIMS):
            await self._hand_on(await self.ask(self._claim, names[at : at + CLAIMS]))

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
            if self.stopping():  # the next daemon finds it, as after a crash
                raise Stopping
            try:
                await self.admit(claimed)
            except Stopping:
                raise
            except Exception as error:  # the file is a job's only trace: it is never let go
                log.debug("%s", claimed.source, exc_info=error)
                await self.ask(self.inbox.keep, claimed, f"is claimed, and is tried again: {_told(error)}")
            else:
                self.inbox.taken_in(claimed)

    def _suit(self, is_remote: bool) -> None:
        """What is complete is harder to tell on a network mount."""
        self.inbox.can_tell_writers = not is_remote
        settle = self.config.settle_seconds
        if is_remote and "settle_seconds" not in self.config.model_fields_set:
            settle = max(settle, NETWORK_SETTLE_SECONDS)
        self.inbox.settle_seconds = settle

    def _trouble(self, what: str | None) -> None:
        if what is not None and what != self.health.folder:
            log.warning("%s", what)
        if what is None and self.health.folder is not None:
            log.info("%s can be claimed from again", self.home.jobs)
        self.health.folder = what


def _told(error: Exception) -> str:
    if isinstance(error, OSError):
        return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    if isinstance(error, FolderUnusable):
        return str(error)
    return clip(f"{type(error).__name__}: {error}", 300)
