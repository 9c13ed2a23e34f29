"""The page around its screens: the token, the theme, the keys, and a daemon that is down."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.store import ReferenceCache
from prefd.daemon.home.layout import Home
from support import control_server, homes
from support.browser import DESKTOP, PHONE, Visit
from support.page import TOKEN

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow
Open = Callable[..., Visit]
TABS = ("charts", "pairs", "samples", "data", "spec", "log", "history")
NAME = "a-rather-long-name-of-a-job-that-has-no-blank-in-it-at-all"
SCREENS = {
    "/": NAME,
    **{f"/jobs/1/{tab}": NAME for tab in TABS},
    "/jobs/99": "There is no job 99",
    "/no": "no such screen",
    "/train": "Model & data",
    "/train?tab=rows": "Model & data",
    "/compare?ids=1,2,3": NAME,
    "/cache": "who it is",
    "/losses/dpop": "Train with it",
    "/daemon": "Settings",
}
"""The screens, each with a text that is seen when it is drawn."""


def expect(page: Page, text: str | re.Pattern[str]) -> None:
    """Waits until `text` is seen."""
    page.get_by_text(text).first.wait_for()


def set_hidden(page: Page, hidden: str) -> None:
    """Tells the page that its tab is hidden, or seen again."""
    page.evaluate(
        f"Object.defineProperty(document, 'hidden', {{configurable: true, get: () => {hidden}}});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )


def test_a_locked_page_takes_the_pasted_address_and_goes_on_where_it_was(ready_home: Home, visit: Open) -> None:
    homes.add_done(ready_home)
    there = visit("/jobs/1/history", unlocked=False)
    there.page.get_by_label("The address with its token").fill("no such thing")
    there.page.get_by_role("button", name="Unlock").click()
    expect(there.page, "There is no token in that")
    there.page.get_by_label("The address with its token").fill(f"{there.address}/#token={TOKEN}")
    there.page.get_by_role("button", name="Unlock").click()
    there.page.get_by_role("columnheader", name="why").wait_for()
    assert there.page.url == f"{there.address}/jobs/1/history"
    there.page.reload()  # it is kept
    there.page.get_by_role("columnheader", name="why").wait_for()


def test_the_token_leaves_the_address_and_a_wrong_one_locks_the_page(ready_home: Home, visit: Open) -> None:
    homes.add_done(ready_home)
    there = visit(f"/jobs/1/log?find=model#token={TOKEN}", unlocked=False)
    expect(there.page, "1 of 3 lines")
    assert there.page.url == f"{there.address}/jobs/1/log?find=model"
    there.page.goto(f"{there.address}/#token={'W' * 43}")
    expect(there.page, "This page is locked")
    assert there.context.cookies() == []


def test_the_page_works_with_the_daemon_down_and_says_so(ready_home: Home, visit: Open) -> None:
    homes.add_done(ready_home, name="kept")
    there = visit()
    there.page.get_by_role("link", name="kept").wait_for()
    expect(there.page, "daemon not running")
    expect(there.page, "prefd start --detach")
    with control_server.serving(ready_home):
        expect(there.page, re.compile("0 running"))
        expect(there.page, "Pause queue")


def test_the_theme_follows_the_system_until_the_other_is_chosen(visit: Open) -> None:
    there = visit(color_scheme="dark")
    root = there.page.locator("html")
    assert root.get_attribute("data-theme") == "dark"
    there.page.keyboard.press("t")
    assert root.get_attribute("data-theme") == "light"
    there.page.reload()
    assert root.get_attribute("data-theme") == "light"


def test_keys_lead_and_are_listed(ready_home: Home, visit: Open) -> None:
    homes.add_done(ready_home, name="first")
    homes.add_done(ready_home, name="second")
    there = visit()
    there.page.get_by_role("link", name="second").wait_for()
    there.page.keyboard.press("?")
    there.page.get_by_role("dialog", name="Keys").get_by_text("choose it").wait_for()
    there.page.keyboard.press("Escape")
    there.page.keyboard.press("j")
    there.page.keyboard.press("j")
    there.page.keyboard.press("x")
    there.page.wait_for_url("**/?sel=1")
    there.page.keyboard.press("Enter")
    there.page.get_by_role("link", name="history").wait_for()  # keys are bound when the screen is seen
    there.page.keyboard.press("7")
    there.page.wait_for_url("**/jobs/1/history")
    there.page.keyboard.press("g")
    there.page.keyboard.press("j")
    there.page.wait_for_url(f"{there.address}/")


def test_a_hidden_tab_closes_its_stream_and_comes_back_where_it_was(ready_home: Home, visit: Open) -> None:
    there = visit()
    there.page.get_by_text("No jobs yet").wait_for()
    homes.add_queued(ready_home, name="seen")
    there.page.get_by_role("link", name="seen").wait_for()
    with there.page.expect_event("requestfailed", lambda request: "/v1/events" in request.url):
        set_hidden(there.page, "true")
    homes.add_queued(ready_home, name="unseen")
    with there.page.expect_request(lambda request: "/v1/events" in request.url) as stream_request:
        set_hidden(there.page, "false")
    there.page.get_by_role("link", name="unseen").wait_for()
    assert stream_request.value.all_headers()["last-event-id"]


def test_no_screen_is_wider_than_a_phone_and_each_has_a_title(ready_home: Home, visit: Open) -> None:
    homes.add_done(ready_home, name=NAME + "x" * 140, group="sweep")
    homes.add_failed(ready_home, reason="data.path: /a/very/long/path/without/any/blank/" + "x" * 200)
    homes.add_running(ready_home, name="runs")
    reference = ReferenceFingerprint({"weights": "w" * 64}, {"model": "/a/very/long/path/" + "x" * 80})
    precompute = ready_home.job(1) / "precompute.json"
    precompute.write_text(precompute.read_text().replace("3f9a" * 8, reference.name))
    ReferenceCache.open(ready_home.cache).reference(reference).put({b"k" * 32: np.full(3, -0.5, dtype=np.float32)})
    there = visit(None, viewport=PHONE)
    for screen, text in SCREENS.items():
        there.open(screen)
        there.page.locator("main").get_by_text(text).filter(visible=True).first.wait_for()
        there.page.locator("h1, h2").first.wait_for(state="attached")
        assert there.measure_overflow() <= 0, screen
    there.open("/jobs/1/spec")
    there.page.get_by_role("button", name="Archive").wait_for()
    assert there.measure_overflow() <= 0
    there.open("/")
    there.page.get_by_role("button", name="Clean up").click()
    dialog = there.page.get_by_role("dialog", name="Clean up")
    dialog.get_by_label("delete").wait_for()
    assert dialog.evaluate("each => each.scrollWidth - each.clientWidth") <= 0
    there.page.set_viewport_size({"width": 820, "height": 1180})  # the daemon is down, and there are six screens
    there.open("/")
    there.page.get_by_text("daemon not running").wait_for()
    assert there.measure_overflow() <= 0
    there.page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    there.open("/")
    there.page.get_by_role("navigation", name="Screens", exact=True).wait_for()
