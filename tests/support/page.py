"""The page's application in this process, asked as a browser asks it, and a page of few bytes for where none was built."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from prefd.daemon.control.api.events import Hub
from prefd.daemon.home.layout import Home
from prefd.daemon.page.addresses import list_hosts
from prefd.daemon.page.app import make_page
from support.quick_timing import QUICK_TIMING

TOKEN = "T" * 43
PORT = 8377
ADDRESS = f"http://127.0.0.1:{PORT}"
OPEN = {"Authorization": f"Bearer {TOKEN}"}
"""The header that opens the page."""


def write_static(folder: Path) -> Path:
    """Write what stands for a page that was built, and return its folder."""
    (folder / "assets").mkdir(parents=True)
    (folder / "assets" / "main-HASH.js").write_text("export {};\n")
    (folder / "index.html").write_text(
        '<!doctype html><meta property="csp-nonce" nonce="__NONCE__"><div id="app"></div>'
    )
    return folder


def browse(home: Home, static: Path, *allowed: str) -> TestClient:
    """Return a client of the page of `home`, which sends no token by itself."""
    app = make_page(home, Hub(home, QUICK_TIMING), TOKEN, list_hosts("127.0.0.1", PORT, allowed), static)
    return TestClient(app, base_url=ADDRESS, raise_server_exceptions=False)
