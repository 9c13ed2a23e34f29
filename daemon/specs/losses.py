"""Losses keeps the catalogue of a daemon, and tries again after a failure: when something has changed, or after a while."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config
from prefd.daemon.machine.interpreter import WORKER
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.specs.catalog import Catalog, CatalogError
from prefd.daemon.specs.catalog_listing import load_catalog, take_stamp_of_installed
from prefd.daemon.specs.file_stamps import Stamp
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provision:
    """Provision holds what a phase is planned with, and what its worker is given: both of one moment."""

    catalog: Catalog
    settings: HandedSettings


class Losses:
    """Losses holds the losses of one home, as a child lists them now.

    `settings`: the daemon's settings as they are in force. `cancelled`: once it is set, no listing holds the process up.
    """

    def __init__(
        self,
        home: Home,
        worker: Sequence[str] = WORKER,
        settings: Callable[[], Config] = Config,
        cancelled: threading.Event | None = None,
        timing: Timing = USUAL,
    ) -> None:
        self.home = home
        self.worker = worker
        self.settings = settings
        self.cancelled = cancelled or threading.Event()
        self.timing = timing
        self.latest: Catalog | None = None
        """The last good catalogue; it stays while there is none now."""
        self.error: str | None = None
        """Why the losses cannot be listed now."""
        self._failed_with: tuple[HandedSettings, Stamp] | None = None
        """What there was when the losses could not be listed."""
        self._wait = timing.first_listing_retry
        self._retry_at = 0.0

    async def list_ahead(self) -> None:
        """List the losses before anyone needs them; where that fails, `error` says why."""
        with suppress(CatalogError):
            await self.now()

    async def now(self, retry: bool = False, anew: bool = False) -> Catalog:
        """Return the catalogue as it is now. Raises CatalogError.

        After a failure the child is asked again as soon as something has changed, and else after a while that grows; with
        `retry` also where single plugins could not be loaded, and with `anew` in any case.
        """
        settings = HandedSettings.from_config(self.settings(), self.home)
        has_failed = self.error is not None or (retry and self.latest is not None and bool(self.latest.failures))
        is_due = anew or (has_failed and time.monotonic() >= self._retry_at)
        try:
            catalog = await run_in_thread(self._list, settings, is_due)
        except CatalogError as error:
            if not self.cancelled.is_set():
                self._note_error(str(error), is_due)
            raise
        self._note_catalog(catalog, is_due)
        return catalog

    async def provide(self) -> Provision:
        """Return the catalogue as it is now, with the settings to hand to a worker. Raises CatalogError."""
        config = self.settings()
        catalog = await self.now()
        return Provision(catalog, HandedSettings.from_config(config, self.home, catalog.failures))

    def _list(self, settings: HandedSettings, is_due: bool) -> Catalog:
        stamp = settings, take_stamp_of_installed(self.home, settings)
        if self.error is not None and not is_due and stamp == self._failed_with:
            raise CatalogError(self.error)
        self._failed_with = stamp
        return load_catalog(self.home, self.worker, settings, self.cancelled, is_due, self.timing)

    def _note_error(self, error: str, is_retry: bool) -> None:
        """Keep why there is no catalogue, and log it once."""
        if error != self.error:
            log.warning("the losses cannot be listed: %s; the queue waits", error)
            self._wait = self.timing.first_listing_retry
            self._put_off()
        elif is_retry:
            self._put_off()
        self.error = error

    def _note_catalog(self, catalog: Catalog, is_retry: bool) -> None:
        """Keep the catalogue, and log once which plugins cannot be loaded."""
        if self.error is not None:
            log.info("the losses can be listed again")
        earlier = {} if self.latest is None else self.latest.failures
        for key in earlier.keys() - catalog.failures.keys():
            log.info("plugin %s can be loaded again, or is no longer listed", key)
        for key, error in catalog.failures.items():
            if earlier.get(key) != error:
                log.warning("plugin %s cannot be loaded: %s; jobs that need it wait", key, error)
        if self.error is not None or earlier != catalog.failures:
            self._wait = self.timing.first_listing_retry
            self._put_off()
        elif is_retry:
            self._put_off()
        self.latest, self.error = catalog, None

    def _put_off(self) -> None:
        """Choose when to ask again though nothing has changed, later each time."""
        self._retry_at = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, self.timing.last_listing_retry)
