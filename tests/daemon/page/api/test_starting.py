"""The daemon is started from the page."""

from __future__ import annotations

import sys

import pytest

from prefd.daemon.control.client import Client
from prefd.daemon.home.layout import Home
from prefd.daemon.page import command_child
from support.page_api import asking


@pytest.mark.slow
def test_a_daemon_is_started_once_and_outlives_who_asked(short_home: Home) -> None:
    with asking(short_home) as page:
        started = page.post("/v1/start")
        assert started.status_code == 202, started.text
        again = page.post("/v1/start")
    assert (again.status_code, "already running" in again.json()["lines"][0]) == (409, True)
    assert Client(short_home).status().pid == started.json()["pid"]
    assert Client(short_home).stop(wait_seconds=60)


def test_what_keeps_it_from_starting_is_told_in_its_words(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import sys; sys.exit('error: the disk refuses\\nmake room')"
    monkeypatch.setattr(command_child, "PYTHON", (sys.executable, "-c", program))
    with asking(ready_home) as page:
        answer = page.post("/v1/start")
    assert (answer.status_code, answer.json()["lines"]) == (409, ["the disk refuses", "make room"])
