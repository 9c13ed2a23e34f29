"""Processes that end and begin again under an open page: the daemon's and the page's own, as they are started by a user."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.home.page_record import find_page
from support.browser import visiting
from support.fake_worker import wait_for
from support.running_daemon import Place, process

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
ROUNDS = 3
MOST_OF_PAGE = 100_000_000
MOST_GROWTH_OF_DAEMON = 5_000_000
PROGRAM = """
import sys
from pathlib import Path
from prefd.daemon.home import page_files
page_files.STATIC = Path(sys.argv.pop(1))
page_files.read_shell.__defaults__ = (page_files.STATIC,)
from prefd.daemon.cli import cli
cli()
"""
"""`prefd` with the client that was built for the tests."""


@contextmanager
def page_process(home: Home, static: Path, port: int) -> Iterator[tuple[psutil.Process, str]]:
    """`prefd web` on this port, 0 for any, with the address that it prints; killed at the end."""
    command = [sys.executable, "-c", PROGRAM, str(static), "--home", str(home.root), "web", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        try:
            assert child.stdout is not None
            yield psutil.Process(child.pid), child.stdout.readline().strip()
        finally:
            child.kill()


def read_drawn(page: Page, metric: str) -> list[str]:
    """What the card's head tells of a curve at each of its steps, as the cursor goes over the plot from left to right."""
    card = page.locator("section.chart").filter(has=page.get_by_role("heading", name=metric, exact=True))
    box = card.locator(".u-over").bounding_box()
    assert box is not None
    drawn: dict[str, str] = {}
    for place in range(0, 101, 4):
        page.mouse.move(box["x"] + 1 + (box["width"] - 2) * place / 100, box["y"] + box["height"] / 2)
        drawn[card.locator(".unit").inner_text()] = card.locator(".value b").first.inner_text()
    return [drawn[f"step {step}"] for step in range(1, len(drawn) + 1)]


def kill_worker(place: Place) -> None:
    """Kills the worker that the last daemon left behind."""
    *_, last = (place.home.job(1) / "starts.txt").read_text().splitlines()
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(last.split()[1])).kill()


@pytest.mark.thorough  # real daemons; ../api/test_events.py and the stream's own tests have the places they go on from
def test_three_restarts_of_daemon_and_page_lose_no_point_and_neither_takes_much_memory(
    place: Place, static: Path, browser: Browser
) -> None:
    """The daemon and `prefd web` are killed in turn, and together, while a job trains and the page is open."""
    place.drop("runs.json", name="sleep@training")
    metrics = place.home.job(1) / "metrics.jsonl"
    step = 0

    def report() -> None:
        nonlocal step
        step += 1
        with metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "loss": step / 8}) + "\n")

    with ExitStack() as window:
        window.callback(kill_worker, place)
        port, page = 0, None
        for _ in range(ROUNDS):
            with process(place) as daemon:
                wait_for(lambda: [job.state for job in place.jobs()] == ["training"])
                resident = psutil.Process(daemon.pid).memory_info().rss
                with page_process(place.home, static, port) as (web, url):
                    if page is None:
                        record = find_page(place.home)
                        assert record is not None
                        port = record.port
                        page = window.enter_context(visiting(browser, record.address, unlocked=False)).page
                        page.goto(url.replace("/#", "/jobs/1/charts?smooth=0#"))
                    report()
                    page.get_by_text("1 running").first.wait_for()
                    page.get_by_role("img", name=f"Loss, {step} points").wait_for()
                    assert psutil.Process(daemon.pid).memory_info().rss - resident < MOST_GROWTH_OF_DAEMON
                    daemon.kill()
                    page.get_by_text("daemon not running").wait_for()
                    report()
                    page.get_by_role("img", name=f"Loss, {step} points").wait_for()
                    assert web.memory_info().rss < MOST_OF_PAGE
                page.get_by_text("prefd web does not answer").first.wait_for()
            report()  # while nobody listens
        assert page is not None
        with page_process(place.home, static, port):
            page.get_by_role("img", name=f"Loss, {step} points").wait_for()
            assert read_drawn(page, "Loss") == [format(number / 8, "g") for number in range(1, step + 1)]
