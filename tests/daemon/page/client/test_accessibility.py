"""Every screen, in both themes, is looked at by axe (WCAG A and AA), and walked through with the Tab key alone."""

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
    "/jobs/1/samples": "Jupiter, after 12.",
    "/jobs/1/data": "identical sides",
    "/jobs/1/spec": "Archive",
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


MOST_TABS = 300
NOTE_FOCUS = """() => {
    const walk = window.walk = {reached: new Set(), unseen: [], back: false};
    const describe = (each) => (each.outerHTML.match(/^<[^>]*>/)?.[0] ?? each.tagName).slice(0, 160);
    const isShown = (each) => each.checkVisibility({visibilityProperty: true}) && each.getClientRects().length > 0;
    walk.list = () => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex], [contenteditable=true]")]
        .filter((each) => each.tabIndex >= 0 && !each.disabled && isShown(each));
    walk.missed = () => walk.list().filter((each) => !walk.reached.has(each)).map(describe);
    document.activeElement?.blur();
    document.addEventListener("focusin", ({target}) => {
        if (walk.reached.has(target)) walk.back = true;
        walk.reached.add(target);
        target.closest(".cm-editor")?.classList.add("cm-focused");  // as it does a moment later
        const marks = [target, target.parentElement, target.closest(".cm-editor") ?? target].map((each) => getComputedStyle(each));
        if (!marks.some((style) => (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none"))
            walk.unseen.push(describe(target));
    });
}"""
"""Notes each element that the focus comes to, and those at which it cannot be seen."""


def walk(page: Page) -> dict[str, Any]:
    """Goes through the page by the Tab key until it is back at its beginning: what was not reached, and where no focus was seen."""
    page.evaluate(NOTE_FOCUS)
    for pressed in range(MOST_TABS):
        page.keyboard.press("Tab")
        if pressed % 10 == 9 and page.evaluate("walk.back || document.activeElement === document.body"):
            break
    walk_result = page.evaluate("({missed: walk.missed(), unseen: walk.unseen})")
    return {name: elements for name, elements in walk_result.items() if elements}


def look(page: Page, rules: str) -> list[Any]:
    """What axe finds on the page as it is."""
    violations = page.evaluate(f"axe.run(document, {{runOnly: {rules}, resultTypes: ['violations']}})")["violations"]
    return [
        (each["id"], each["nodes"][0]["html"][:200], each["nodes"][0]["failureSummary"][:300]) for each in violations
    ]


def test_axe_finds_nothing_in_either_theme_and_the_tab_key_leads_through_every_screen(
    ready_home: Home, visit: Callable[..., Visit]
) -> None:
    source = (CLIENT / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    homes.draw_samples(ready_home, homes.add_done(ready_home, name="over", group="sweep", priority=2))
    homes.add_failed(ready_home, name="failed")
    homes.add_done(ready_home, name="also", loss={"name": "sigmoid"})
    homes.add_running(ready_home, name="runs")
    homes.add_queued(ready_home, name="waits")
    there = visit(None)
    violations: dict[str, list[Any]] = {}
    for screen, text in SCREENS.items():
        there.open(screen)
        there.page.locator("main").get_by_text(text).first.wait_for()
        there.page.evaluate(source)
        light = look(there.page, RULES)
        there.page.evaluate("document.documentElement.dataset.theme = 'dark'")
        violations[screen] = light + look(there.page, COLOURS)
        if left_out := walk(there.page):
            violations[screen].append(left_out)
    there.open("/")
    there.page.get_by_role("button", name="Clean up").click()
    there.page.get_by_role("dialog").get_by_text("Nothing would be deleted").wait_for()
    there.page.evaluate(source)
    violations["the dialog that cleans up"] = look(there.page, RULES)
    there.page.evaluate("document.documentElement.dataset.theme = 'dark'")
    violations["the dialog that cleans up"] += look(there.page, COLOURS)
    assert {screen: problems for screen, problems in violations.items() if problems} == {}
