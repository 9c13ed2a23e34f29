from __future__ import annotations

import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.service.systemd import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, short_home: Home) -> Iterator[tuple[socket.socket, str]]:
    """systemd's end of the socket, and what it would put into $NOTIFY_SOCKET."""
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("only Linux has abstract sockets")
    address = str(short_home.root / "notify") if request.param == "path" else f"@prefd-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        receiver.settimeout(5)
        yield receiver, address


def test_systemd_is_told_by_datagram(listener: tuple[socket.socket, str]) -> None:
    theirs, address = listener
    environment = {"NOTIFY_SOCKET": address, "HOME": "h"}
    notifier = ServiceManager.take(environment)
    assert environment == {"HOME": "h"}, "no worker is to talk to systemd"
    notifier.tell(READY=1, STATUS="2 jobs\nrun")
    assert theirs.recv(4096) == b"READY=1\nSTATUS=2 jobs run"


def test_a_status_is_told_once(listener: tuple[socket.socket, str]) -> None:
    theirs, address = listener
    notifier = ServiceManager(address)
    for text in ("one", "one", "two"):
        notifier.status(text)
    assert [theirs.recv(4096), theirs.recv(4096)] == [b"STATUS=one", b"STATUS=two"]


def test_without_systemd_nothing_is_said_and_nothing_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for notifier in (ServiceManager.take({}), ServiceManager(str(tmp_path / "gone")), ServiceManager("@prefd-nobody")):
        notifier.tell(READY=1)
        notifier.status("fine")
    assert caplog.records == []


def test_a_manager_that_does_not_read_holds_nothing_up(listener: tuple[socket.socket, str]) -> None:
    notifier = ServiceManager(listener[1])
    began = time.monotonic()
    for number in range(5000):
        notifier.tell(STATUS=str(number) * 50)
    assert time.monotonic() - began < 5
    assert listener[0].recv(4096) == b"STATUS=" + b"0" * 50


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "this one"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_watchdog_is_this_process_s_own(environment: dict[str, str], seconds: float | None) -> None:
    if environment.get("WATCHDOG_PID") == "this one":
        environment["WATCHDOG_PID"] = str(os.getpid())
    assert ServiceManager.take(environment).watchdog_seconds == seconds
    assert environment == {}
