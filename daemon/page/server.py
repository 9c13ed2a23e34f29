"""`serve_page` is the process of `prefd web`: it binds its address, writes down where it is, and answers until it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prefd.daemon.control.api.events import Hub
from prefd.daemon.control.connection import Connection, make_limits
from prefd.daemon.home.layout import Home
from prefd.daemon.home.page_files import read_shell
from prefd.daemon.home.page_record import PageRecord, forget_token, hold_page, write_page_record
from prefd.daemon.page.addresses import list_hosts
from prefd.daemon.page.app import make_page
from prefd.daemon.page.listening import PortTaken, bind_page
from prefd.daemon.page.serving import ServerRun
from prefd.daemon.timing import USUAL, Timing
from prefd.daemon.worker_tasks.look_child import LookChild


@dataclass(frozen=True)
class PageSettings:
    """PageSettings says where the page is served, and by which further names a browser may ask for it."""

    host: str
    port: int
    allowed_hosts: Sequence[str] = ()


class PageConnection(Connection):
    """PageConnection is bounded as one to the control socket is. TCP does not tell which user is at its other end: the token does."""

    def describe_stranger(self, transport: asyncio.Transport) -> str | None:
        """Names nobody."""
        return None


def serve_page(
    home: Home,
    settings: PageSettings,
    announce: Callable[[PageRecord], None],
    supervised: bool = False,
    timing: Timing = USUAL,
) -> None:
    """Serve the home's page until SIGINT or SIGTERM; where it is `supervised`, until the process that started it closes its input too.

    `announce` is called once it listens. Raises PageMissing, PageServedAlready, PortTaken, BadAddress.
    """
    read_shell()  # first of all: without a page there is nothing to serve
    list_hosts(settings.host, settings.port, settings.allowed_hosts)
    with hold_page(home):
        try:
            listener = bind_page(settings.host, settings.port)
        except PortTaken as error:
            if error.is_foreign:
                forget_token(home)
            raise
        with listener:
            port = listener.getsockname()[1]  # another than was asked for, where that was 0
            record = write_page_record(home, settings.host, port)
            hub, child = Hub(home, timing), LookChild(home)
            hosts = list_hosts(settings.host, port, settings.allowed_hosts)

            def end_answers() -> None:
                hub.close()
                child.stop()

            app = make_page(home, hub, record.token, hosts, child=child)
            limits = make_limits(timing, PageConnection)
            serving = ServerRun(app, end_answers, listener, limits, supervised)
            asyncio.run(serving.run(home, lambda: announce(record), timing))
