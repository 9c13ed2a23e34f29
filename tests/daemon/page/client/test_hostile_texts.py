"""What data, specs, caches and plugins say is shown as text: nothing in it becomes part of the page."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.store import ReferenceCache
from prefd.daemon.home.layout import Home
from prefd.daemon.page import app
from prefd.daemon.specs.catalog import Catalog
from support import fake_worker, homes
from support.browser import Visit

if TYPE_CHECKING:
    from playwright.sync_api import Route

pytestmark = pytest.mark.slow
TAKEN = "document.title='taken'"
MARKUP = f"<img src=x onerror={TAKEN}><script>{TAKEN}</script>\"'&lt;"
HOSTILE = f"{MARKUP}\x1b[31m\u202e"
HIDDEN = "/[\\u0000-\\u0008\\u001b\\u202a-\\u202e]/.test(document.body.textContent)"
SCREENS = {
    "/": "<img src=x",
    "/?state=queued": "waits<b>bold</b>",
    "/jobs/1/data": "<img src=x",
    "/jobs/1/log": "\\u001b[31m\\u202e",
    "/jobs/1/history": "<img src=x",
    "/jobs/2/history": "onerror=document.title",
    "/jobs/3/spec": "<i>slanted</i>",
    "/compare?ids=1,3": "<img src=x",
    "/cache": "script>",
    "/losses/evil": "<script>document.title='taken'</script>",
    "/train?tab=rows": "<script>document.title='taken'</script>",
}
"""Of each screen, what of it has to be read there."""


def make_hostile_home(home: Home) -> None:
    """Jobs, a log, a report on rows and a reference whose texts hold markup, control characters and a turned order."""
    done = homes.add_done(home, name=MARKUP[:60], group="<b>bold</b>")
    run = homes.run_folder(home, done)
    outcome = json.loads((run.root / "precompute.json").read_text())
    outcome["summary"]["data"]["unusable"] = {HOSTILE: {"count": 1, "rows": [4], "places": [f"{HOSTILE}:4"]}}
    (run.root / "precompute.json").write_text(json.dumps(outcome))
    run.log.write_text(f"{HOSTILE}\n", encoding="utf-8")
    homes.add_failed(home, reason=HOSTILE)
    homes.add_queued(home, name="waits<b>bold</b>", model="org/<i>slanted</i>")
    reference = ReferenceFingerprint({"weights": MARKUP}, {"model": HOSTILE})
    ReferenceCache.open(home.cache).reference(reference).put({b"k" * 32: np.full(3, -0.5, dtype=np.float32)})


def list_hostile_losses() -> Catalog:
    """A plugin's loss whose words hold markup."""
    listed = copy.deepcopy(fake_worker.CATALOG)
    listed["losses"]["evil"] = fake_worker.loss() | {
        "summary": HOSTILE,
        "doc": f"{HOSTILE}\n\n{HOSTILE}",
        "plugin": MARKUP,
    }
    return fake_worker.catalog(listed)


def answer_look(route: Route) -> None:
    """Answers for the server that a spec is right, and that its one row holds markup."""
    part = {"text": HOSTILE, "tokens": 3, "special": [[0, 4]]}
    row = {"row": 1, "place": HOSTILE, "prompt": part, "chosen": part, "rejected": part, "remarks": [HOSTILE]}
    lengths = {"from": 0, "width": 1, "counts": [1], "mean": 3, "max": 3}
    page = {
        "report": homes.REPORT,
        "total": 1,
        "lengths": {"prompt": lengths, "chosen": lengths, "rejected": lengths},
        "rows": [row],
    }
    valid = {"ok": True, "faults": [], "notes": [HOSTILE], "jobs": [{}], "settings": []}
    route.fulfill(json=valid if "/validate" in route.request.url else page)


def test_whatever_holds_markup_is_read_and_never_run(
    ready_home: Home, visit: Callable[..., Visit], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_hostile_home(ready_home)
    monkeypatch.setattr(app, "load_catalog", lambda home: list_hostile_losses())
    there = visit(None)
    there.page.on("dialog", lambda dialog: there.troubles.append(f"a dialog: {dialog.message}"))
    there.page.route("**/v1/validate*", answer_look)
    there.page.route("**/v1/preview*", answer_look)
    there.page.route("**/v1/explain*", lambda route: route.fulfill(status=409, json={"lines": [HOSTILE]}))
    there.page.route("**/curve*", lambda route: route.fulfill(status=422, json={"lines": [HOSTILE]}))
    for screen, text in SCREENS.items():
        there.open(screen)
        there.page.get_by_text(text).filter(visible=True).first.wait_for()
        assert there.page.locator("img, script:not([src]), i:text-is('slanted'), b:text-is('bold')").count() == 0, (
            screen
        )
        assert there.page.title() != "taken", screen
        assert not there.page.evaluate(HIDDEN), f"{screen}: what cannot be seen is written out"
    turned = there.page.locator("main span").first.evaluate("(each) => getComputedStyle(each).unicodeBidi")
    assert turned == "isolate", "a character that turns the order round turns its own text alone"
