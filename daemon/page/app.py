"""`make_page` builds the application of `prefd web`: the shell, and the endpoints of the control API behind a token.

What reads the home is answered here, by the very endpoints of the daemon, so it works with the daemon and without. What
changes something is handed to the daemon.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from prefd.daemon.control.api.app import list_shared_endpoints, make_app_of
from prefd.daemon.control.api.endpoint import Controlled, Endpoint
from prefd.daemon.control.api.events import Hub
from prefd.daemon.control.api.openapi import describe_endpoints
from prefd.daemon.home.layout import Home
from prefd.daemon.home.page_files import STATIC
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.page.api.own_endpoints import list_own_endpoints
from prefd.daemon.page.guard import ApiGuard, HostGuard
from prefd.daemon.page.relay import Relay
from prefd.daemon.page.shell import make_shell
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.catalog_listing import load_catalog
from prefd.daemon.text.parsed import MAX_BYTES
from prefd.daemon.worker_tasks.look_child import LookChild

MAX_LIST_BYTES = 4 * 2**20
"""A list of jobs that is posted, as the daemon takes it."""


@dataclass(frozen=True)
class Reader:
    """Reader is the part of a server that the endpoints which read a home call."""

    home: Home
    max_spec_bytes: int = MAX_BYTES
    max_list_bytes: int = MAX_LIST_BYTES

    async def catalog(self) -> Catalog:
        """Returns the losses and plugins as a child lists them now, which is asked again when they may have changed. Raises CatalogError."""
        return await run_in_thread(load_catalog, self.home)


def list_endpoints(home: Home, hub: Hub, child: LookChild | None = None) -> list[Endpoint]:
    """Lists all that the page's process answers under /v1: its own, and those of the control socket, of which it relays some."""
    relay = Relay(home, MAX_LIST_BYTES)
    reader = cast(Controlled, Reader(home))  # all that asks for more than its fields is relayed
    shared = [
        replace(each, handle=relay.answer) if each.needs_daemon else each for each in list_shared_endpoints(reader, hub)
    ]
    described = [*shared, *list_own_endpoints(home, child)]
    return [*described, describe_endpoints(described)]


def make_page(
    home: Home, hub: Hub, token: str, hosts: Collection[str], static: Path = STATIC, child: LookChild | None = None
) -> ASGIApp:
    """Builds the application. Raises PageMissing where the page was not built."""
    shell = make_shell(static)
    api = ApiGuard(make_app_of(list_endpoints(home, hub, child)), token, MAX_LIST_BYTES)

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        await (api if path == "/v1" or path.startswith("/v1/") else shell)(scope, receive, send)

    return HostGuard(GZipMiddleware(choose, minimum_size=1000, compresslevel=5), hosts)
