"""Debian's Chromium on the page of a home: the client as it is built from the sources here, the server in a thread."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prefd.daemon.control.api.events import Hub
from prefd.daemon.control.connection import make_limits
from prefd.daemon.control.server import serve_app
from prefd.daemon.home.layout import Home
from prefd.daemon.page.addresses import list_hosts
from prefd.daemon.page.app import make_page
from prefd.daemon.page.listening import bind_page
from prefd.daemon.page.server import PageConnection
from prefd.daemon.timing import Timing
from prefd.daemon.worker_tasks.look_child import LookChild
from support.loop_thread import running_in_thread
from support.page import TOKEN
from support.paths import ROOT
from support.quick_timing import QUICK_TIMING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CLIENT = ROOT / "daemon" / "page" / "client"
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
REQUIRED = "PREFD_BROWSER"
"""A variable of the environment: where it is `required`, what is lacking for these tests fails them."""


def skip(reason: str) -> None:
    """Skips the test, or fails it where browsers are required."""
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def find_chromium() -> str:
    """The browser of this machine; the test is skipped where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        skip(f"there is no browser here: none of {', '.join(NAMES)}")
    return str(path)


def find_node() -> str:
    """The Node.js of this machine; the test is skipped where there is none, or npm has installed nothing for the client."""
    node = shutil.which("node")
    if node is None or not (CLIENT / "node_modules").is_dir():
        skip("the page's client is not installed here: npm ci --ignore-scripts in daemon/page/client")
    return str(node)


def build_client(out: Path) -> Path:
    """Bundles the client as it is now into `out`; the test is skipped where it cannot be."""
    subprocess.run([find_node(), "build.mjs", f"--out={out}"], cwd=CLIENT, check=True)
    return out


@dataclass
class Visit:
    """Visit is a browser on the page of one home, and what went wrong in it."""

    context: BrowserContext
    page: Page
    address: str
    troubles: list[str]
    """What the page's console complained of, and its exceptions."""
    hosts: set[str]
    """Whom it has asked."""

    def open(self, path: str = "/", wait: str = "load") -> None:
        """Opens an address of the page, with the token that it has been given."""
        self.page.goto(self.address + path, wait_until=wait)  # type: ignore[arg-type]

    def measure_overflow(self) -> int:
        """Counts the pixels by which the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@contextmanager
def serving(home: Home, static: Path, port: int = 0, timing: Timing = QUICK_TIMING) -> Iterator[str]:
    """The page of `home` on loopback until the end of the block; its address."""
    with bind_page("127.0.0.1", port) as listener:
        bound = listener.getsockname()[1]

        async def serve() -> None:
            hub, child = Hub(home, timing), LookChild(home)
            app = make_page(home, hub, TOKEN, list_hosts("127.0.0.1", bound, ()), static, child)
            try:
                await serve_app(app, hub.close, listener, make_limits(timing, PageConnection))
            finally:
                await child.close()

        with running_in_thread(serve):
            yield f"http://127.0.0.1:{bound}"


@contextmanager
def visiting(browser: Browser, address: str, unlocked: bool = True, **settings: Any) -> Iterator[Visit]:
    """A window of its own on the page at `address`; `settings`: of the window, such as `viewport`."""
    context = browser.new_context(**({"viewport": DESKTOP, "reduced_motion": "reduce"} | settings))
    context.set_default_timeout(20_000)
    if unlocked:
        context.add_init_script(f"localStorage.setItem('prefd-token', '{TOKEN}')")
    page = context.new_page()
    visit = Visit(context, page, address, [], set())
    page.on("console", lambda message: visit.troubles.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: visit.troubles.append(str(error)))
    page.on("request", lambda request: visit.hosts.add(request.url.split("/")[2]))
    try:
        yield visit
    finally:
        context.close()
