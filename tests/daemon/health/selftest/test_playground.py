"""A real daemon in a playground: it notices drops, and nothing of it is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.health.selftest.checks import events
from prefd.daemon.health.selftest.playground import NotReached, Playground
from prefd.daemon.home.layout import Home
from prefd.daemon.home.lock import is_held
from prefd.daemon.timing import USUAL
from prefd.daemon.worker_tasks.check_results import WrittenModel


def refuse(*_: Any) -> WrittenModel:
    raise AssertionError("no model is asked for")


@pytest.mark.slow
def test_a_daemon_notices_drops_and_is_gone_at_the_end(ready_home: Home) -> None:
    with Playground.open(USUAL, refuse) as playground:
        result = events.check(playground, ready_home, drops=3)
        assert result.outcome == "ok", result.finding
        daemon = playground.start()  # it runs already
        assert daemon.is_alive()
    assert not daemon.is_alive()
    assert not playground.home.root.exists()


def test_what_is_waited_for_in_vain_is_named_with_the_logs_end(tmp_path: Path) -> None:
    playground = Playground(tmp_path, USUAL, refuse)
    playground.home.create()
    playground.home.log.write_text("first\nlast words\n")
    with pytest.raises(NotReached, match=r"no checkpoint within 0 s; the daemon's log ends with: first \| last words"):
        playground.wait(lambda: False, 0.0, "no checkpoint")


def test_a_playground_ends_what_it_started_though_a_check_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = []
    monkeypatch.setattr(Playground, "kill", lambda playground: killed.append(is_held(playground.home)))
    with pytest.raises(ValueError, match="odd"), Playground.open(USUAL, refuse):
        raise ValueError("odd")
    assert killed == [False]
