"""Hints that `jobs/` may have changed: file events where they work, and looking again and again where they do not.

watchfiles is a hint, not the truth: a non-UTF-8 name kills it, a replaced folder silences it, it says nothing of a queue
that overflowed, and a network mount never speaks. So it is rebuilt whenever it dies or the folder becomes another one, a
folder on a network mount is polled, and nobody depends on any of it: there is a rescan every few seconds in any case.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from watchfiles import Change, awatch

from prefd.daemon.home.settings import WatchConfig
from prefd.daemon.inbox.availability import identity
from prefd.daemon.inbox.health import WatchHealth
from prefd.daemon.machine.mounts import mount_of
from prefd.daemon.machine.threads import in_thread
from prefd.daemon.text.wording import clip
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)

DEBOUNCE_MS, STEP_MS = 50, 25


class Watcher:
    """Sets `changed` whenever the folder may have changed. It never raises and never ends by itself."""

    def __init__(
        self,
        folder: Path,
        config: WatchConfig,
        changed: asyncio.Event,
        health: WatchHealth | None = None,
        timing: Timing = USUAL,
    ) -> None:
        self.folder = folder
        self.config = config
        self.changed = changed
        self.health = health or WatchHealth()
        self.timing = timing

    async def run(self) -> None:
        """Until it is cancelled."""
        first, last = self.timing.first_events_retry, self.timing.last_events_retry
        retry = first
        while True:
            if why := await self._why_silent():
                self.health.error = None
                await self._poll(why, None)
                continue
            began = time.monotonic()
            error = await self._listen()
            self.changed.set()
            if error is None:  # the folder is another one now
                retry = first
                await self._poll("the folder was replaced", first)
                continue
            if time.monotonic() - began > last:
                retry = first
            self._tell(error)
            await self._poll("file events fail", retry)
            retry = min(retry * 2, last)

    async def _why_silent(self) -> str | None:
        """Why the folder must be polled; None where file events can be had."""
        if self.config.polling:
            return "watch.polling is set"
        try:
            mount = await in_thread(mount_of, self.folder)
        except OSError:
            return None  # the claimer says what is wrong with it
        return f"{mount.describe()} tells of no changes made elsewhere" if mount and mount.is_silent else None

    async def _poll(self, why: str, seconds: float | None) -> None:
        """Have the folder looked at now and then, for `seconds`, or until it is another one."""
        self.health.mode, self.health.why = "polling", why
        first, began = await self._identity(), time.monotonic()
        while True:
            wait = self.timing.folder_poll
            left = wait if seconds is None else min(wait, began + seconds - time.monotonic())
            if left <= 0:
                return
            await asyncio.sleep(left)
            self.changed.set()
            if seconds is None and await self._identity() != first:
                return

    async def _listen(self) -> str | None:
        """Pass file events on. Returns when the folder has become another one (None), or what ended the events."""
        stop = asyncio.Event()
        events = asyncio.create_task(self._events(stop))
        replaced = asyncio.create_task(self._replaced())
        try:
            await asyncio.wait({events, replaced}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.set()
            replaced.cancel()
            await asyncio.gather(events, replaced, return_exceptions=True)
        return events.result()

    async def _events(self, stop: asyncio.Event) -> str | None:
        try:
            watching = awatch(
                self.folder,
                watch_filter=None,
                recursive=False,
                debounce=DEBOUNCE_MS,
                step=STEP_MS,
                force_polling=False,
                stop_event=stop,
                yield_on_timeout=True,
            )
            self.health.mode, self.health.why = "events", ""
            async for changes in watching:
                self.health.error = None
                if not changes:
                    continue
                self.health.last_event = time.time()
                self.changed.set()
                if (Change.deleted, str(self.folder)) in changes:  # a new one may well have the old one's inode
                    return None
        except BaseExceptionGroup as error:
            return _cause(error.exceptions[0])
        except Exception as error:  # noqa: BLE001  # whatever kills a watcher, the polls go on
            return _cause(error)
        return None

    async def _replaced(self) -> None:
        """Returns when the folder is no longer the one that is being watched."""
        first = await self._identity()
        while await self._identity() == first:
            await asyncio.sleep(self.config.rescan_seconds)

    async def _identity(self) -> tuple[int, int] | None:
        try:
            return await in_thread(identity, self.folder)
        except OSError:
            return None

    def _tell(self, error: str) -> None:
        if error != self.health.error:
            log.warning("file events for %s fail (%s); it is polled, and they are tried again", self.folder, error)
        self.health.error = error


def _cause(error: BaseException) -> str:
    return clip(f"{type(error).__name__}: {error}", 300)
