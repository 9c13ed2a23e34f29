import json
import threading
import time
from pathlib import Path

import pytest

from prefd.daemon.commands import events
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from support import homes
from support.control_server import serving
from support.homes import invoke


@pytest.fixture
def made(home: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(events, "PATIENCE_SECONDS", 0.3)
    made = Home(home)
    made.create()
    return made


def ending(home: Home, seconds: float) -> threading.Thread:
    """A control API that is there for so long."""
    ready = threading.Event()

    def serve() -> None:
        with serving(home):
            ready.set()
            time.sleep(seconds)

    thread = threading.Thread(target=serve)
    thread.start()
    ready.wait()
    return thread


def test_without_a_daemon_it_says_how_to_start_one(made: Home) -> None:
    result = invoke(made, "events")
    assert result.exit_code == Exit.NO_DAEMON
    assert "prefd start" in result.stderr


def test_each_change_is_a_line_and_so_is_what_training_reports(made: Home) -> None:
    homes.add_done(made)
    homes.add_failed(made, name="bad", reason="out of memory\nlower batch_tokens")
    thread = ending(made, 0.4)
    result = invoke(made, "events", "--after", "0")
    thread.join()
    lines = result.stdout.splitlines()
    assert result.exit_code == Exit.NO_DAEMON, "the daemon is gone"
    assert lines[0].endswith("  job 1 (smol-ipo)  queued")
    assert lines[3].startswith("job 1  step 1  loss 0.668")
    assert any("held out:  loss" in line for line in lines)
    assert lines[-1].endswith("  job 2 (bad)  failed: out of memory")


def test_json_is_a_document_a_line_from_which_it_can_go_on(made: Home) -> None:
    homes.add_done(made)
    thread = ending(made, 0.4)
    told = [json.loads(line) for line in invoke(made, "events", "--after", "0", "--json").stdout.splitlines()]
    thread.join()
    assert all(each["schema"] == 1 for each in told)
    thread = ending(made, 0.4)
    again = invoke(made, "events", 1, "--after", told[4]["id"], "--json").stdout.splitlines()
    thread.join()
    assert [json.loads(line) for line in again] == told[5:]


def test_an_event_that_is_none_is_refused(made: Home) -> None:
    thread = ending(made, 0.5)
    result = invoke(made, "events", "--after", "noon")
    thread.join()
    assert result.exit_code == Exit.FAILED
    assert "'noon' is not the id of an event" in result.stderr


def test_it_goes_on_over_a_restart_of_the_daemon(made: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PATIENCE_SECONDS", 2.0)
    homes.add_queued(made, name="one")

    def two_daemons() -> None:
        with serving(made):
            ready.set()
            time.sleep(0.5)
        homes.add_queued(made, name="two")
        with serving(made):
            time.sleep(0.8)

    ready = threading.Event()
    thread = threading.Thread(target=two_daemons)
    thread.start()
    ready.wait()
    lines = invoke(made, "events", "--after", "0").stdout.splitlines()
    thread.join()
    assert [line.split("  ")[1] for line in lines] == ["job 1 (one)", "job 2 (two)"]
