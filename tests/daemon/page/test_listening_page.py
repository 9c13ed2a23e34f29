"""What another program may do to the page over TCP: another user's, one that floods it, one that stalls, one that lies in its head."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from prefd.daemon.control import connection
from prefd.daemon.home.layout import Home
from prefd.daemon.home.page_record import write_page_record
from prefd.daemon.page.app import MAX_LIST_BYTES
from support import browser
from support.page import TOKEN, write_static
from support.quick_timing import QUICK_TIMING

NOBODY = 65_534


@pytest.fixture
def port(ready_home: Home, tmp_path: Path) -> Iterator[int]:
    """The page of `made`, which gives a request half a second to come."""
    timing = replace(QUICK_TIMING, request_arrival=0.5)
    with browser.serving(ready_home, write_static(tmp_path / "static"), timing=timing) as address:
        yield int(address.rpartition(":")[2])


def connect(port: int) -> socket.socket:
    """A connection to the page."""
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def read_all(there: socket.socket) -> bytes:
    """All that is answered until the connection is closed."""
    answer = b""
    with suppress(ConnectionError):
        while more := there.recv(65_536):
            answer += more
    return answer


def ask(port: int, head: str, body: bytes = b"") -> bytes:
    """The answer to one request, `{port}` in its head being the page's."""
    with connect(port) as there:
        with suppress(ConnectionError):  # refused while it is still being sent
            there.sendall(head.replace("{port}", str(port)).replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        return read_all(there)


def find_status(answer: bytes) -> int:
    """The status of an answer; 0 where the connection was closed without one."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


OWN = f"Host: 127.0.0.1:{{port}}\nAuthorization: Bearer {TOKEN}\nConnection: close"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"GET /v1/jobs HTTP/1.1\n{OWN}", 200),
        ("GET /v1/jobs HTTP/1.1\nHost: 127.0.0.1:{port}\nConnection: close", 401),
        (f"GET /v1/jobs HTTP/1.0\nAuthorization: Bearer {TOKEN}", 421),
        (f"GET http://evil.example/v1/jobs HTTP/1.1\n{OWN.replace('127.0.0.1', 'evil.example')}", 421),
        (f"GET /v1/jobs HTTP/1.1\n{OWN}\nHost: evil.example", 400),
        (f"GET /v1/jobs HTTP/1.1\n{OWN}\nX: {'x' * 1_000_000}", 400),
        (f"GET /{'x' * 1_000_000} HTTP/1.1\n{OWN}", 400),
        (f"POST /v1/queue/pause HTTP/1.1\n{OWN}\nContent-Length: 2\nTransfer-Encoding: chunked", 415),
        (f"POST /v1/queue/pause HTTP/1.1\n{OWN}\nContent-Length: 2\nContent-Length: 3", 400),
        (f"POST /v1/jobs HTTP/1.1\n{OWN}\nContent-Type: application/json\nContent-Length: {MAX_LIST_BYTES + 1}", 413),
        (f"POST /v1/jobs HTTP/1.1\n{OWN}\nContent-Type: text/plain\nContent-Length: 2", 415),
        (f"TRACE /v1/jobs HTTP/1.1\n{OWN}", 405),
        (f"DELETE / HTTP/1.1\n{OWN}", 405),
        ("CONNECT evil.example:443 HTTP/1.1\nHost: evil.example:443\nConnection: close", 421),
    ],
)
def test_a_head_that_lies_or_floods_is_refused(port: int, head: str, status: int) -> None:
    assert find_status(ask(port, head)) == status


def test_a_request_for_a_web_socket_is_answered_as_any_other(port: int) -> None:
    upgrade = "Upgrade: websocket\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\nSec-WebSocket-Version: 13"
    answer = ask(port, f"GET /v1/events/../jobs HTTP/1.1\n{OWN.replace('close', 'close, Upgrade')}\n{upgrade}")
    assert b"101" not in answer[:20]


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET /v1/jobs HTTP/1.1\r\nHost: ",
        b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer " + TOKEN.encode()
        + b"\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
    ],
)  # fmt: skip
def test_what_never_comes_whole_is_given_up(port: int, beginning: bytes) -> None:
    with connect(port) as there:
        there.sendall(beginning.replace(b"{port}", str(port).encode()))
        assert find_status(read_all(there)) in (0, 400)


def test_a_flood_of_connections_leaves_room_for_the_next(port: int) -> None:
    with ExitStack() as stack:
        for _ in range(connection.MAX_CONNECTIONS + 50):
            stack.enter_context(connect(port))
        assert find_status(ask(port, f"GET /v1/jobs HTTP/1.1\n{OWN}")) == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_reaches_the_port_and_neither_the_token_nor_a_job(port: int, ready_home: Home) -> None:
    record = write_page_record(ready_home, "127.0.0.1", port)
    code = (
        "import os, pathlib, sys, urllib.request, urllib.error, encodings.idna\n"
        "os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))\n"
        "try: print(pathlib.Path(sys.argv[2]).read_text())\n"
        "except OSError as error: print(type(error).__name__)\n"
        "for path in ('/', '/v1/jobs', '/v1/events'):\n"
        "    try: print(urllib.request.urlopen('http://127.0.0.1:' + sys.argv[3] + path, timeout=60).status)\n"
        "    except urllib.error.HTTPError as error: print(error.code)\n"
    )
    arguments = [str(NOBODY), str(ready_home.page_record), str(port)]
    done = subprocess.run([sys.executable, "-I", "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["PermissionError", "200", "401", "401"], done.stderr
    assert record.token not in done.stdout
