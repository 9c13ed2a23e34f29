from __future__ import annotations

import _thread
import json
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.control.client import Client, Received
from prefd.daemon.home.layout import Home
from prefd.daemon.timing import Timing
from support import homes
from support.control_server import serving
from support.homes import invoke

pytestmark = [  # httpcore leaves a socket that could not be connected to whoever collects the garbage
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

IMPATIENT = Timing(events_retry=0.02, daemon_return=0.05)
PATIENT = Timing(events_retry=0.02, daemon_return=60)

Watched = Callable[[Callable[[Received], bool]], threading.Event]


@pytest.fixture
def event_stream(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Makes a `threading.Event` that is set once the command has printed such an event of the daemon."""
    conditions: list[tuple[Callable[[Received], bool], threading.Event]] = []
    real = Client.events

    def events(client: Client, after: str | None = None, job_id: int | None = None) -> Iterator[Received]:
        for event in real(client, after, job_id):
            yield event
            for condition, printed in conditions:
                if condition(event):
                    printed.set()

    def watch(condition: Callable[[Received], bool]) -> threading.Event:
        conditions.append((condition, printed := threading.Event()))
        return printed

    monkeypatch.setattr(Client, "events", events)
    return watch


def is_of(job: str, state: str) -> Callable[[Received], bool]:
    return lambda event: event.kind == "job" and (event.document["name"], event.document["state"]) == (job, state)


@contextmanager
def daemon_until(home: Home, end: threading.Event) -> Iterator[None]:
    """A control API that is there until `end` is set."""
    ready = threading.Event()

    def serve() -> None:
        with serving(home):
            ready.set()
            end.wait(60)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(60)
        yield
    finally:
        end.set()
        thread.join()


def test_without_a_daemon_it_says_how_to_start_one(ready_home: Home) -> None:
    result = invoke(ready_home, "events")
    assert result.exit_code == Exit.NO_DAEMON
    assert "prefd start" in result.stderr


def test_each_change_is_a_line_and_so_is_what_training_reports(ready_home: Home, event_stream: Watched) -> None:
    homes.add_done(ready_home)
    homes.add_failed(ready_home, name="bad", reason="out of memory\nlower batch_tokens")
    with daemon_until(ready_home, event_stream(is_of("bad", "failed"))):
        timing = Timing(events_retry=0.02, daemon_return=1.5)  # while it ends, it holds its home and does not answer
        result = invoke(ready_home, "events", "--after", "0", timing=timing)
    lines = result.stdout.splitlines()
    assert result.exit_code == Exit.NO_DAEMON, result.output
    assert lines[0].endswith("  job 1 (smol-ipo)  queued")
    assert lines[3].startswith("job 1  step 1  loss 0.668")
    assert any("held out:  loss" in line for line in lines)
    assert lines[-1].endswith("  job 2 (bad)  failed: out of memory")


def test_json_is_a_document_a_line_from_which_it_can_go_on(ready_home: Home, event_stream: Watched) -> None:
    homes.add_done(ready_home)
    with daemon_until(ready_home, event_stream(is_of("smol-ipo", "done"))):
        shown = invoke(ready_home, "events", "--after", "0", "--json", timing=IMPATIENT).stdout.splitlines()
    changes = [event for event in map(json.loads, shown) if event["event"] not in ("queue", "daemon")]
    assert len(shown) > len(changes)
    assert all(each["schema"] == 1 for each in changes)
    with daemon_until(ready_home, event_stream(is_of("smol-ipo", "done"))):
        again = invoke(
            ready_home, "events", 1, "--after", changes[4]["id"], "--json", timing=IMPATIENT
        ).stdout.splitlines()
    assert [json.loads(line) for line in again] == changes[5:]


def test_an_event_that_is_none_is_refused(ready_home: Home) -> None:
    with daemon_until(ready_home, threading.Event()):
        result = invoke(ready_home, "events", "--after", "noon")
    assert result.exit_code == Exit.FAILED
    assert "'noon' is not the id of an event" in result.stderr


def test_it_goes_on_over_a_restart_of_the_daemon_until_ctrl_c(ready_home: Home, event_stream: Watched) -> None:
    homes.add_queued(ready_home, name="one")
    first, second = event_stream(is_of("one", "queued")), event_stream(is_of("two", "queued"))

    def two_daemons() -> None:
        with serving(ready_home):
            ready.set()
            first.wait(60)
        homes.add_queued(ready_home, name="two")
        with serving(ready_home):
            if second.wait(60):
                _thread.interrupt_main()

    ready = threading.Event()
    thread = threading.Thread(target=two_daemons)
    thread.start()
    assert ready.wait(60)
    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it runs beside ignore Ctrl-C
    try:
        result = invoke(ready_home, "events", "--after", "0", timing=PATIENT)
    finally:
        signal.signal(signal.SIGINT, former)
    thread.join()
    assert [line.split("  ")[1] for line in result.stdout.splitlines()] == ["job 1 (one)", "job 2 (two)"]
    assert re.search(r"`prefd events --after \S+` goes on from here", result.stderr)
