"""Every screen, in both themes, is looked at by axe (WCAG A and AA)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from prefd.daemon.home.layout import Home
from support import homes
from support.browser import CLIENT, Visit

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow
SCREENS = {
    "/?sel=1": "Run anew",
    "/jobs/1/charts": "mean per pair",
    "/jobs/1/pairs": "Pairs",
    "/jobs/1/data": "identical sides",
    "/jobs/1/spec": "org/small-model",
    "/jobs/1/log": "loading the model",
    "/jobs/1/history": "precomputing",
    "/train": "Preference",
    "/compare?ids=1,3": "also",
    "/cache": "Cache",
    "/losses": "Losses",
    "/daemon": "Daemon",
}
"""The screens, each with a text that is seen when it is drawn."""
RULES = "{type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21aa']}"
COLOURS = "{type: 'rule', values: ['color-contrast']}"
"""All that a theme changes."""


def look(page: Page, rules: str) -> list[Any]:
    """What axe finds on the page as it is."""
    violations = page.evaluate(f"axe.run(document, {{runOnly: {rules}, resultTypes: ['violations']}})")["violations"]
    return [
        (each["id"], each["nodes"][0]["html"][:200], each["nodes"][0]["failureSummary"][:300]) for each in violations
    ]


def test_axe_finds_nothing_on_any_screen_in_either_theme(made: Home, visit: Callable[..., Visit]) -> None:
    source = (CLIENT / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    homes.add_done(made, name="over", group="sweep", priority=2)
    homes.add_failed(made, name="failed")
    homes.add_done(made, name="also", loss={"name": "sigmoid"})
    homes.add_running(made, name="runs")
    homes.add_queued(made, name="waits")
    there = visit(None)
    found: dict[str, list[Any]] = {}
    for screen, text in SCREENS.items():
        there.open(screen)
        there.page.locator("main").get_by_text(text).first.wait_for()
        there.page.evaluate(source)
        light = look(there.page, RULES)
        there.page.evaluate("document.documentElement.dataset.theme = 'dark'")
        found[screen] = light + look(there.page, COLOURS)
    assert {screen: problems for screen, problems in found.items() if problems} == {}
