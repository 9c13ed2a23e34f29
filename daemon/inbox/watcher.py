"""Watcher wakes the intake when `jobs/` may have changed: at file events where they work, at intervals where they do not.

watchfiles gives hints, not the truth: a non-UTF-8 name kills it, a replaced folder silences it, it does not report that its
queue overflowed, and a network mount sends no events. So it is started anew whenever it dies or the folder becomes another
one, a folder on a network mount is polled, and nothing depends on any of it: there is a rescan every few seconds in any case.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from watchfiles import Change, awatch

from prefd.daemon.home.identity import FolderId, read_folder_id
from prefd.daemon.home.settings import WatchConfig
from prefd.daemon.inbox.health import WatchHealth
from prefd.daemon.machine.mounts import find_mount
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.text.wording import clip
from prefd.daemon.timing import USUAL, Timing
from prefd.plugins.errors import describe_exception

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
        """Watch the folder until cancelled."""
        first, last = self.timing.first_events_retry, self.timing.last_events_retry
        retry = first
        while True:
            if reason := await self._find_why_silent():
                self.health.error = None
                await self._poll(reason, None)
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
            self._report_error(error)
            await self._poll("file events fail", retry)
            retry = min(retry * 2, last)

    async def _find_why_silent(self) -> str | None:
        """Return why the folder must be polled; None where there are file events."""
        if self.config.polling:
            return "watch.polling is set"
        try:
            mount = await run_in_thread(find_mount, self.folder)
        except OSError:
            return None  # the intake reports what is wrong with it
        return f"{mount.describe()} tells of no changes made elsewhere" if mount and mount.is_silent else None

    async def _poll(self, reason: str, seconds: float | None) -> None:
        """Have the folder looked at now and then, for `seconds`, or until it is another one."""
        self.health.mode, self.health.why = "polling", reason
        first, began = await self._read_folder_id(), time.monotonic()
        while True:
            wait = self.timing.folder_poll
            pause = wait if seconds is None else min(wait, began + seconds - time.monotonic())
            if pause <= 0:
                return
            await asyncio.sleep(pause)
            self.changed.set()
            if seconds is None and await self._read_folder_id() != first:
                return

    async def _listen(self) -> str | None:
        """Pass file events on. Returns None when the folder has become another one, or what ended the events."""
        stop = asyncio.Event()
        events = asyncio.create_task(self._pass_events(stop))
        replaced = asyncio.create_task(self._wait_until_replaced())
        try:
            await asyncio.wait({events, replaced}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.set()
            replaced.cancel()
            await asyncio.gather(events, replaced, return_exceptions=True)
        return events.result()

    async def _pass_events(self, stop: asyncio.Event) -> str | None:
        """Set `changed` at every file event. Returns None when the folder was deleted, or the error that ended the events."""
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
        except FileNotFoundError:  # which the intake, or the watch on the home, tells of
            return None
        except BaseExceptionGroup as error:
            return _describe_cause(error.exceptions[0])
        except Exception as error:  # noqa: BLE001  # any error may kill a watcher, and polling goes on
            return _describe_cause(error)
        return None

    async def _wait_until_replaced(self) -> None:
        """Return when the folder is no longer the one that is being watched."""
        first = await self._read_folder_id()
        while await self._read_folder_id() == first:
            await asyncio.sleep(self.config.rescan_seconds)

    async def _read_folder_id(self) -> FolderId | None:
        try:
            return await run_in_thread(read_folder_id, self.folder)
        except OSError:
            return None

    def _report_error(self, error: str) -> None:
        if error != self.health.error:
            log.warning("file events for %s fail (%s); it is polled, and they are tried again", self.folder, error)
        self.health.error = error


def _describe_cause(error: BaseException) -> str:
    return clip(describe_exception(error), 300)
