"""What a client may do to the daemon by stalling, flooding or lying: it goes on answering the next one."""

import os
import resource
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from prefd.daemon.control import connection
from prefd.daemon.control.api import events
from prefd.daemon.control.client import Client
from prefd.daemon.home.layout import Home
from prefd.daemon.timing import Timing
from support import homes
from support.control_server import serving, talking
from support.fake_worker import wait_for
from support.sockets import find_socket, short_folder


def connect(home: Home, seconds: float = 60.0) -> socket.socket:
    there = socket.socket(socket.AF_UNIX)
    there.settimeout(seconds)
    there.connect(find_socket(home))
    return there


def ask(home: Home, request: bytes) -> bytes:
    """Everything that is answered until the connection is closed."""
    with connect(home) as there:
        with suppress(ConnectionError):  # closed while we still write
            there.sendall(request)
        answer = b""
        with suppress(ConnectionError):
            while more := there.recv(65_536):
                answer += more
        return answer


@pytest.fixture
def shared_home() -> Iterator[Home]:
    """A home that other users can get at, with a socket that they may write to: what the modes keep from happening."""
    with short_folder() as root:
        root.chmod(0o755)
        home = Home(root)
        home.create()
        home.run.chmod(0o755)
        yield home


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_before_a_byte_is_answered(shared_home: Home, caplog: pytest.LogCaptureFixture) -> None:
    code = (
        "import os, socket, sys\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(int(sys.argv[2]))\n"
        "there = socket.socket(socket.AF_UNIX); there.settimeout(60); there.connect(sys.argv[1])\n"
        "try:\n"
        "    there.sendall(b'GET /v1/status HTTP/1.1\\r\\nHost: prefd\\r\\n\\r\\n')\n"
        "    print(there.recv(1000))\n"
        "except (ConnectionResetError, BrokenPipeError): print(b'')\n"
    )
    with serving(shared_home):
        Path(find_socket(shared_home)).chmod(0o666)
        answers = {}
        for uid in (65534, 0):
            command = [sys.executable, "-I", "-c", code, find_socket(shared_home), str(uid)]
            answers[uid] = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
        assert answers[65534].strip() == "b''"
        assert "200 OK" in answers[0]
        assert Client(shared_home).status().pid == 42
    assert "refused a connection of user 65534" in caplog.text


def test_nobody_else_can_reach_the_socket_by_the_modes_alone(ready_home: Home) -> None:
    with serving(ready_home):
        assert stat.S_IMODE(ready_home.root.stat().st_mode) == 0o700
        assert stat.S_IMODE(ready_home.run.stat().st_mode) == 0o700
        assert stat.S_IMODE(os.stat(find_socket(ready_home)).st_mode) == 0o600


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200 + b"\r\n\r\n", b"400"),
        (b"GET /v1/status\r\n\r\n", b"400"),
        (b"GET /v1/status HTTP/1.1\r\n\r\n", b"400"),  # no Host
        (b"GET /v1/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", b"400"),
        (b"GET /v1/status HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200_000 + b"\r\n", b"400"),
        (b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
    ],
    ids=["tls", "http-0.9", "no-host", "bytes", "negative", "twice", "headers", "path", "chunks"],
)
def test_what_is_not_a_request_is_refused_and_the_next_one_is_answered(
    ready_home: Home, request_: bytes, status: bytes
) -> None:
    with serving(ready_home):
        assert ask(ready_home, request_).split(b" ")[1] == status
        assert Client(ready_home).status().pid == 42


def test_a_huge_body_is_neither_kept_nor_waited_for(ready_home: Home) -> None:
    me = psutil.Process()
    with serving(ready_home, Timing(request_arrival=0.5)) as daemon:
        for target in (b"/v1/jobs", b"/v1/stop"):
            before = me.memory_info().rss
            head = b"POST " + target + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n"
            piece, sent, began = b"x" * 1_000_000, 0, time.monotonic()
            with connect(ready_home) as there:
                there.sendall(head)
                try:
                    while time.monotonic() - began < 20:
                        sent += there.send(piece)
                except OSError:
                    pass
            assert time.monotonic() - began < 8, "as long as without a limit of 0.5 s"
            assert me.memory_info().rss - before < 30_000_000, sent
        assert daemon.posted_specs == []
        assert Client(ready_home).status().pid == 42


@pytest.mark.parametrize(
    "beginning", [b"", b"GET /v1/sta", b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"]
)
def test_a_request_that_never_comes_whole_is_given_up(ready_home: Home, beginning: bytes) -> None:
    with serving(ready_home, Timing(request_arrival=0.3)), connect(ready_home) as slow:
        began = time.monotonic()
        slow.sendall(beginning)
        with suppress(ConnectionResetError):
            assert slow.recv(1000) == b""
        assert time.monotonic() - began < 8, "as long as without a limit of 0.3 s"


def test_a_trickle_of_bytes_buys_no_time(ready_home: Home) -> None:
    with serving(ready_home, Timing(request_arrival=0.3)), connect(ready_home) as slow:
        began = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - began < 20:
                slow.sendall(b"y")
                time.sleep(0.02)
        assert time.monotonic() - began < 8, "as long as without a limit of 0.3 s"


def test_a_client_that_does_not_read_its_answer_is_let_go(ready_home: Home) -> None:
    job = homes.add_running(ready_home)
    rows = [{"step": step, "pad": "x" * 10_000} for step in range(2_000)]
    homes.write_metrics(homes.run_folder(ready_home, job), rows)
    request = b"GET /v1/events?after=0 HTTP/1.1\r\nHost: x\r\n\r\n"
    with serving(ready_home, Timing(answer_read=0.3)), talking(ready_home) as http:
        with connect(ready_home) as listening:  # what streams and metrics need is loaded with the first of them
            listening.sendall(request)
            assert b"200 OK" in listening.recv(65_536)
        wait_for(lambda: "prefd_event_streams 0.0" in http.get("/v1/metrics").text)
        me = psutil.Process()
        before = me.memory_info().rss
        with connect(ready_home) as deaf:
            deaf.sendall(request)
            assert b"200 OK" in deaf.recv(1000)
            wait_for(lambda: "prefd_event_streams 0.0" in http.get("/v1/metrics").text)
        assert me.memory_info().rss - before < 5_000_000


def test_a_thousand_connections_leave_room_for_a_command(ready_home: Home) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    me = psutil.Process()
    try:
        with serving(ready_home), ExitStack() as stack:
            held = [stack.enter_context(connect(ready_home)) for _ in range(1000)]
            assert Client(ready_home).status().pid == 42
            served = me.num_fds() - len(held)
            assert served < connection.MAX_CONNECTIONS + 60, "the daemon holds a bounded number of them"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_event_streams_never_take_the_room_of_commands(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_STREAMS", 3)
    with serving(ready_home), ExitStack() as stack:
        for _ in range(3):
            there = stack.enter_context(connect(ready_home))
            there.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in there.recv(1000)
        refused = ask(ready_home, b"GET /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 503")
        assert b"3 clients listen already" in refused
        assert Client(ready_home).status().pid == 42
