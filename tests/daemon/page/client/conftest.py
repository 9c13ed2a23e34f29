"""A browser for all tests of the page's client, and a window on the page of a home for each."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all windows of a file. It ends with the file: while Playwright runs, no other test of this thread can use asyncio."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=list(browsers.FLAGS))
        yield chromium
        chromium.close()


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
