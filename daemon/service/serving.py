"""`serve` runs the daemon on a home: from the home's lock and its settings to the exit code."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
from collections.abc import Sequence

from prefd.daemon.home import lock
from prefd.daemon.home.layout import Home
from prefd.daemon.home.live_settings import LiveSettings
from prefd.daemon.jobs.rebuild import open_table
from prefd.daemon.machine.open_files import raise_limit
from prefd.daemon.machine.processes import WORKER
from prefd.daemon.service.daemon import Service
from prefd.daemon.service.logs import start_logging
from prefd.daemon.service.systemd import ServiceManager
from prefd.daemon.text.time_zone import explain_unknown_zone
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)


def serve(
    home: Home,
    worker: Sequence[str] = WORKER,
    to_file: bool = False,
    timing: Timing = USUAL,
    page_address: tuple[str, int] | None = None,
) -> bool:
    """Run the daemon on `home` until SIGTERM, SIGINT or `POST /v1/stop`. Logs to stderr, or to the home's daemon.log.

    Where there is a `page_address`, the page is served there, whatever the settings say.

    Returns False where it ended because the home went away, or was replaced.

    Raises AlreadyRunning (prefd.daemon.home.lock), ConfigError, JobTableError.
    """
    raise_limit()
    home.create()
    settings = LiveSettings.load(home)
    with lock.hold_lock(home):
        restart_log = functools.partial(start_logging, file=home.log if to_file else None)
        restart_log(settings.current.log)
        if unknown := explain_unknown_zone():
            log.warning("%s", unknown)
        with open_table(home) as table:
            manager = ServiceManager.take(os.environ)
            service = Service(
                home,
                settings.current,
                table,
                worker,
                manager,
                timing,
                settings=settings,
                restart_log=restart_log,
                page_address=page_address,
            )
            asyncio.run(_run(service))
            return service.presence.lost is None


async def _run(service: Service) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, service.request_stop)
    on_hangup = service.request_stop if os.isatty(2) else service.request_reload  # a terminal was closed
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    await service.run()
