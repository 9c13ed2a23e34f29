"""A browser for all tests of the page's client, and a window on the page of a home for each."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.specs import catalog_listing
from support import browser as browsers
from support.browser import Visit, build_client, find_chromium, serving, visiting
from support.once import make_once

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client, bundled as it is now."""
    return build_client(tmp_path_factory.mktemp("page") / "static")


class SharedBrowser(ExitStack):
    """The browser of all windows in this folder's tests, from the first that needs it until the last of them has run."""

    chromium: Browser | None = None

    def launch(self) -> Browser:
        """Return the browser that runs, or start one."""
        if self.chromium is None:
            api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
            playwright = self.enter_context(api.sync_playwright())
            options = {"executable_path": find_chromium(), "args": list(browsers.FLAGS)}
            self.chromium = playwright.chromium.launch(**options)
            self.callback(self.chromium.close)
        return self.chromium

    def end(self) -> None:
        """Ends the browser, and Playwright with it: while that runs, no other test of this thread can use asyncio."""
        self.chromium = None
        self.close()


SHARED_BROWSER = SharedBrowser()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Ends the browser behind the last test of this folder that its process has been given."""
    try:
        return (yield)
    finally:
        if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
            SHARED_BROWSER.end()


@pytest.fixture
def browser() -> Browser:
    """One browser for all windows of this folder."""
    return SHARED_BROWSER.launch()


@pytest.fixture(autouse=True)
def listed_once(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The child that lists the losses takes seconds, and is asked once for the homes of all these tests, not once for each."""
    list_plugins = catalog_listing.list_plugins

    def list_once(command: Sequence[str], settings: HandedSettings, *more: Any) -> Any:
        key = repr((command[:-1], settings)).encode()
        return make_once(
            tmp_path_factory, f"losses-{zlib.crc32(key):x}", lambda: list_plugins(command, settings, *more)
        )

    monkeypatch.setattr(catalog_listing, "list_plugins", list_once)


@pytest.fixture
def visit(ready_home: Home, static: Path, browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens a window on the page of the home `made`; at the end, nothing may have gone wrong in it."""
    with ExitStack() as stack:
        address = stack.enter_context(serving(ready_home, static))
        visits: list[Visit] = []

        def open_window(path: str | None = "/", **settings: Any) -> Visit:
            visits.append(stack.enter_context(visiting(browser, address, **settings)))
            if path is not None:
                visits[-1].open(path)
            return visits[-1]

        yield open_window
        for each in visits:
            refused = [text for text in each.troubles if "the server responded with a status of" not in text]
            assert refused == [], "what the page's console complained of"
            assert each.hosts == {address.removeprefix("http://")}, "the page has asked nobody else"
