"""What data, specs and plugins say is shown as text: nothing in it becomes part of the page."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prefd.daemon.home.layout import Home
from support import homes
from support.browser import Visit

pytestmark = pytest.mark.slow
HOSTILE = "<img src=x onerror=document.title='taken'><script>document.title='taken'</script>\"'&lt;\x1b[31m\u202e"
SCREENS = {
    "/": "<img src=x onerror=alert(1)>",
    "/jobs/1/log": "<script>document.title='taken'</script>",
    "/jobs/1/history": "<img src=x onerror=alert(1)>",
    "/jobs/2/history": "onerror=document.title",
    "/compare?ids=1,2": "<img src=x onerror=alert(1)>",
}
"""Of each screen, what of it has to be read there."""


def test_a_name_a_reason_and_a_log_with_markup_are_texts(made: Home, visit: Callable[..., Visit]) -> None:
    done = homes.add_done(made, name="<img src=x onerror=alert(1)>", group="<b>bold</b>")
    homes.add_failed(made, reason=HOSTILE)
    (made.job(done.id) / "worker.log").write_text(f"{HOSTILE}\n", encoding="utf-8")
    there = visit(None)
    there.page.on("dialog", lambda dialog: there.troubles.append(f"a dialog: {dialog.message}"))
    for screen, text in SCREENS.items():
        there.open(screen)
        there.page.get_by_text(text).first.wait_for()
        assert there.page.locator("img, script:not([src]), b:text-is('bold')").count() == 0, screen
        assert there.page.title() != "taken", screen
