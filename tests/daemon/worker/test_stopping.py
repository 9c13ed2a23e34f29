"""When a worker has to stop."""

import os
import threading

import pytest

from prefd.daemon.worker import stopping


def test_a_worker_whose_daemon_was_gone_before_it_could_look_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFD_PARENT", "4194305")
    event = threading.Event()
    stopping.watch_parent(event, every_s=60)
    assert event.wait(60)


def test_a_worker_whose_daemon_lives_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFD_PARENT", str(os.getppid()))
    event = threading.Event()
    stopping.watch_parent(event, every_s=0.01)
    assert not event.wait(0.1)
    event.set()  # ends the watch
