"""`serve_clients` is the process of `prefd serve`: it binds its address, takes up what it promised before, and answers until stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from prefd.daemon.control.connection import make_limits
from prefd.daemon.home.layout import Home
from prefd.daemon.home.serve_key import keep_key
from prefd.daemon.home.serve_record import ServeRecord, hold_serving, write_serve_record
from prefd.daemon.home.settings import ServeConfig
from prefd.daemon.live.app import make_live_app
from prefd.daemon.live.jobs import DaemonClientJobs
from prefd.daemon.live.keys import Keys
from prefd.daemon.live.models import Models
from prefd.daemon.live.releasing import keep_house
from prefd.daemon.live.sessions import Sessions
from prefd.daemon.page.addresses import list_hosts
from prefd.daemon.page.listening import bind_page
from prefd.daemon.page.server import PageConnection
from prefd.daemon.page.serving import ServerRun
from prefd.daemon.specs.path_or_hub_id import resolve_source
from prefd.daemon.timing import USUAL, Timing

REMEDY = "choose another with `prefd serve --port`, or `port` under [serve] in config.toml"
HOUSE_SECONDS = 5.0
"""Between two looks at what clients have left."""
ARRIVAL_SECONDS = 75.0
"""For a request to arrive whole, or a connection's next one to begin: a client keeps its connections."""


class ClientConnection(PageConnection):
    """ClientConnection is bounded as one of the page is; a client polls for many results at once, each on a connection."""

    most = 1000


def serve_clients(
    home: Home,
    config: ServeConfig,
    announce: Callable[[ServeRecord], None],
    supervised: bool = False,
    timing: Timing = USUAL,
) -> None:
    """Serve the home's clients until SIGINT or SIGTERM; where it is `supervised`, until the process that started it closes its input too.

    `announce` is called once it listens. Raises ServedAlready, BadServeKey, PortTaken, BadAddress, OSError.
    """
    keys = Keys(keep_key(home))
    with hold_serving(home), bind_page(config.host, config.port, REMEDY) as listener:
        record = write_serve_record(home, config.host, listener.getsockname()[1])
        sessions = Sessions(home.live)
        sessions.load()
        models = Models(home, sessions, DaemonClientJobs(home), locate_models(home, config))
        app = make_live_app(models, keys, list_hosts(config.host, record.port, ()))
        serving = ServerRun(app, lambda: None, listener, make_client_limits(timing), supervised)

        async def run() -> None:
            house = asyncio.ensure_future(keep_house(models, config.release_seconds, HOUSE_SECONDS))
            try:
                await serving.run(home, lambda: announce(record), timing)
            finally:
                house.cancel()

        asyncio.run(run())


def make_client_limits(timing: Timing) -> dict[str, Any]:
    """Return the limits of clients' connections, for `uvicorn.Config`."""
    limits = make_limits(replace(timing, request_arrival=ARRIVAL_SECONDS), ClientConnection)
    return {**limits, "timeout_keep_alive": int(ARRIVAL_SECONDS)}


def locate_models(home: Home, config: ServeConfig) -> Mapping[str, str]:
    """Return what clients may train, by name: absolute folders, from the home where they are relative, and hub ids."""
    return {name: resolve_source(model, home.root) for name, model in config.models.items()}
