"""Conditions are what every job of a queue needs of its machine: settings that can be read, losses, and a worker that starts.

While one of them is missing the queue waits, and no job is blamed. What failed is tried again when something has changed, and
else after a while that grows.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.home.live_settings import LiveSettings
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.specs.catalog import CatalogError
from prefd.daemon.specs.catalog_listing import take_stamp_of_installed
from prefd.daemon.specs.losses import Losses
from prefd.daemon.specs.worker_check import find_worker_fault
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)


class Conditions:
    """Conditions says what keeps jobs from starting in one home's queue. `cancelled`: once it is set, no child holds the process up."""

    def __init__(
        self,
        home: Home,
        settings: LiveSettings,
        worker: Sequence[str],
        cancelled: threading.Event,
        timing: Timing = USUAL,
    ) -> None:
        self.home = home
        self.settings = settings
        self.worker = worker
        self.cancelled = cancelled
        self.timing = timing
        self.losses = Losses(home, worker, lambda: settings.current, cancelled, timing)
        self.worker_error: str | None = None
        """Why no worker can be started."""
        self._stamp: object = None
        self._wait = timing.first_listing_retry
        self._retry_at = 0.0

    @property
    def trouble(self) -> str | None:
        """Say what the queue waits for, in words; None where it need not wait."""
        if self.settings.error is not None:
            return f"{self.settings.error}; the queue waits"
        if self.worker_error is not None:
            return f"no worker can be started: {self.worker_error}; the queue waits"
        if self.losses.error is not None:
            return f"the losses cannot be listed: {self.losses.error}; the queue waits"
        if (rest := self.settings.current.worker.explain_rest(is_running=False)) is not None:
            return f"{rest}; the queue waits"
        return None

    async def renew(self) -> None:
        """Try again what is missing, and the plugins that cannot be loaded, where it is time for it."""
        if self.worker_error is not None:
            stamp = await run_in_thread(self._take_stamp)
            if stamp != self._stamp or time.monotonic() >= self._retry_at:
                await self._check_worker()
        with suppress(CatalogError):
            await self.losses.now(retry=True)

    async def explain_crash(self) -> bool:
        """Look whether the machine explains that a worker has ended without a word: then its job is not to blame.

        That is so where no worker can be started now, or where other plugins than before cannot be loaded.
        """
        before = self.losses.latest
        if not await self._check_worker():
            return True
        try:
            after = await self.losses.now(anew=True)
        except CatalogError:
            return True
        return before is not None and before.failures != after.failures

    async def _check_worker(self) -> bool:
        """Start a worker that imports all that a job may need, and return whether that went well."""
        self._stamp = await run_in_thread(self._take_stamp)
        error = await run_in_thread(self._try_worker)
        if self.cancelled.is_set():
            return error is None
        if error is None and self.worker_error is not None:
            log.info("workers can be started again")
        if error is not None and error != self.worker_error:
            log.warning("no worker can be started: %s; the queue waits", error)
        if error is None or self.worker_error is None:
            self._wait = self.timing.first_listing_retry
        self._retry_at = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, self.timing.last_listing_retry)
        self.worker_error = error
        return error is None

    def _take_stamp(self) -> object:
        device = self.settings.current.worker.device  # which may not be there
        return take_stamp_of_installed(self.home, HandedSettings()), device

    def _try_worker(self) -> str | None:
        """Return why a worker cannot be started; None where it can."""
        command = [*self.worker, "ready", "--home", str(self.home.root)]
        return find_worker_fault(command, self.cancelled, self.settings.current.worker.device)
