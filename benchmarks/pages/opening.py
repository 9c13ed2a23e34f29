"""An opening of a page, with a server of its own and an empty cache: what it took until the picture no longer changed.

Drawn is when the picture of the window last changed, for every tool alike: the browser's screencast has a frame for each change of
what is seen, and a frame like the one before it is none. What a page asks for afterwards, to hear of news, is counted by itself.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil
from playwright.sync_api import Error as PlaywrightError

from pages.tools import Server, Tool
from support.browser import DESKTOP

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page, Response

STILL_SECONDS = 5.0
"""A picture that has not changed for so long, with the charts on it, is drawn."""
PATIENCE_SECONDS = 180.0


@dataclass(frozen=True)
class Opening:
    """Opening is what one opening of a page took."""

    kilobytes: float
    requests: int
    drawn: float
    """Seconds from the address to the last change of what is seen."""
    polls: float
    """Requests a minute after that."""
    heap: float
    """MB that its scripts hold, after a collection."""
    resident: float
    """MB of the server."""
    told: tuple[str, str]
    """What the page tells of the spikes, and of what is not finite."""


@dataclass
class Record:
    """Record is what the browser reports while a page is opened; moments are Unix time."""

    asked: list[float] = field(default_factory=list)
    received: list[tuple[float, float]] = field(default_factory=list)
    changed: float = 0.0
    picture: bytes = b""
    offset: float = 0.0
    """What is added to the protocol's own clock."""

    def follow(self, session: CDPSession) -> None:
        """Listen to requests and to frames."""
        session.on("Network.requestWillBeSent", self.note_request)
        session.on("Network.loadingFinished", self.note_answer)
        session.on("Page.screencastFrame", lambda event: self.note_frame(session, event))
        session.send("Network.enable")
        session.send("Page.startScreencast", {"format": "png", "maxWidth": 720, "maxHeight": 450})

    def note_request(self, event: dict[str, Any]) -> None:
        self.offset = event["wallTime"] - event["timestamp"]
        if event["request"]["url"].startswith("http"):
            self.asked.append(event["wallTime"])

    def note_answer(self, event: dict[str, Any]) -> None:
        self.received.append((event["timestamp"] + self.offset, event["encodedDataLength"]))

    def note_frame(self, session: CDPSession, event: dict[str, Any]) -> None:
        with suppress(PlaywrightError):  # the page is closed meanwhile
            session.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})
        picture = hashlib.sha256(event["data"].encode()).digest()
        if picture != self.picture:
            self.picture, self.changed = picture, float(event["metadata"]["timestamp"])


def open_page(browser: Browser, tool: Tool, server: Server, steps: int) -> Opening:
    """Open the tool's page once, and measure what that takes."""
    with serving(server) as process:
        time.sleep(tool.reads_first)
        context = browser.new_context(viewport=DESKTOP, reduced_motion="reduce")  # type: ignore[arg-type]
        page = context.new_page()
        session = context.new_cdp_session(page)
        record = Record()
        record.follow(session)
        sent: list[Response] = []
        page.on("response", lambda response: sent.append(response))
        began = time.time()
        page.goto(server.find_address(), wait_until="commit", timeout=1000 * PATIENCE_SECONDS)
        page.locator(tool.ready).first.wait_for(timeout=1000 * PATIENCE_SECONDS, state="attached")
        wait_until_still(page, record)
        session.send("Page.stopScreencast")
        asked_after = [moment for moment in record.asked if moment > record.changed]
        session.send("HeapProfiler.collectGarbage")
        opening = Opening(
            kilobytes=sum(size for moment, size in record.received if moment <= record.changed) / 1e3,
            requests=len(record.asked) - len(asked_after),
            drawn=record.changed - began,
            polls=60 * len(asked_after) / (time.time() - record.changed),
            heap=session.send("Runtime.getHeapUsage")["usedSize"] / 1e6,
            resident=sum(each.memory_info().rss for each in [process, *process.children(recursive=True)]) / 1e6,
            told=tool.describe(page, [read_body(each) for each in sent], steps),
        )
        context.close()
    return opening


def wait_until_still(page: Page, record: Record) -> None:
    """Wait until the picture has not changed for a while. Raises SystemExit where it does not come to rest."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        page.wait_for_timeout(200)
        if record.changed and time.time() - record.changed > STILL_SECONDS:
            return
    sys.exit(f"{page.url} was never still")


def read_body(response: Response) -> str:
    """Return the text of an answer that is data; empty for any other."""
    with suppress(PlaywrightError):
        return response.text() if "json" in response.headers.get("content-type", "") else ""
    return ""


@contextmanager
def serving(server: Server) -> Iterator[psutil.Process]:
    """Run the tool's server, and yield its process once it answers."""
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(list(server.command), stdout=log, stderr=log, env=os.environ | server.environment)
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not answers(server.address):
                if child.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"{' '.join(server.command)[:200]} does not answer: {log.read().decode()[-2000:]}")
                time.sleep(0.2)
            yield psutil.Process(child.pid)
        finally:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()
            child.wait()


def answers(address: str) -> bool:
    """Say whether a server answers there, whatever."""
    try:
        urllib.request.urlopen(address, timeout=5).read(1)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
