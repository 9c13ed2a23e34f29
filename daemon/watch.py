"""Hints that `jobs/` may have changed: file events where they work, and a rescan every few seconds in any case.

watchfiles is a hint, not the truth: a non-UTF-8 name kills it, a replaced folder silences it, a network mount never
speaks. So it is rebuilt whenever it dies or the folder becomes another one, and nobody depends on it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from watchfiles import awatch

from prefd.daemon.config import WatchConfig

log = logging.getLogger(__name__)

DEBOUNCE_MS = 50
FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 60.0


@dataclass
class WatchHealth:
    """What `prefd status` shows of the watcher."""

    mode: Literal["events", "polling", "rescans only"] = "rescans only"
    last_event: float | None = None
    """Unix time."""
    last_rescan: float | None = None
    error: str | None = None


class Watcher:
    """Sets `changed` whenever the folder may have changed. It never raises and never ends by itself."""

    def __init__(self, folder: Path, config: WatchConfig, changed: asyncio.Event) -> None:
        self.folder = folder
        self.config = config
        self.changed = changed
        self.health = WatchHealth()

    async def run(self) -> None:
        """Until it is cancelled."""
        retry = FIRST_RETRY_SECONDS
        while True:
            began = time.monotonic()
            stop = asyncio.Event()
            events = asyncio.create_task(self._events(stop))
            replaced = asyncio.create_task(self._replaced())
            try:
                await asyncio.wait({events, replaced}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stop.set()
                replaced.cancel()
                await asyncio.gather(events, replaced, return_exceptions=True)
            self.changed.set()
            if time.monotonic() - began > LAST_RETRY_SECONDS:
                retry = FIRST_RETRY_SECONDS
            await asyncio.sleep(retry)
            retry = min(retry * 2, LAST_RETRY_SECONDS)

    async def _events(self, stop: asyncio.Event) -> None:
        try:
            self.health.mode = "polling" if self.config.polling else "events"
            watching = awatch(
                self.folder,
                watch_filter=None,
                recursive=False,
                debounce=DEBOUNCE_MS,
                force_polling=self.config.polling,
                stop_event=stop,
            )
            async for _ in watching:
                self.health.last_event = time.time()
                self.health.error = None
                self.changed.set()
        except Exception as error:  # noqa: BLE001  # whatever kills a watcher, the rescans go on
            text = f"{type(error).__name__}: {error}"
            if text != self.health.error:
                log.warning("the watcher of %s failed (%s); rescans go on, and it is tried again", self.folder, text)
            self.health.error = text
        finally:
            self.health.mode = "rescans only"

    async def _replaced(self) -> None:
        """Returns when the folder is no longer the one that is being watched."""
        first = _identity(self.folder)
        while _identity(self.folder) == first:
            await asyncio.sleep(self.config.rescan_seconds)


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        info = os.stat(folder)
    except OSError:
        return None
    return info.st_dev, info.st_ino
