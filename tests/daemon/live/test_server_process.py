"""`prefd serve` as a process: strangers, floods and bombs at the real limits are refused, and it goes on answering."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pyarrow as pa
import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.home.serve_key import keep_key
from prefd.daemon.live.bodies import MAX_UNPACKED
from prefd.daemon.live.guard import MAX_BODY
from support.daemon_process import PREFD

pytestmark = pytest.mark.slow
MOST_MEMORY = 700e6
"""Bytes that the process may take at its peak, its libraries' hundred included."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    home = Home(tmp_path / "home")
    home.create()
    command = [*PREFD, "--home", str(home.root), "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        yield process
        process.terminate()


def test_floods_and_bombs_are_refused_and_it_goes_on_answering(server: subprocess.Popen[str], tmp_path: Path) -> None:
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    headers = {"X-API-Key": keep_key(Home(tmp_path / "home"))}
    protobuf = {"Content-Type": "application/x-protobuf"}
    zeros = bytes(MAX_UNPACKED + 1)
    refused: list[tuple[str, bytes, dict[str, str], int]] = [
        ("/telemetry", bytes(MAX_BODY + 1), {}, 413),
        ("/telemetry", gzip.compress(zeros, 1), {"Content-Encoding": "gzip"}, 413),
        ("/telemetry", pa.compress(zeros, "zstd", asbytes=True), {"Content-Encoding": "zstd"}, 413),
        ("/create_session", b"[" * MAX_BODY, {}, 413),
        ("/create_session", b"[" * 1_000_000, {}, 400),
        ("/create_session", b"[[]" + b",[]" * (MAX_BODY // 3 - 2) + b"]", {}, 413),
        ("/create_session", b'{"a":' + b"9" * 1_000_000 + b"}", {}, 400),
        ("/forward_backward", b"\x08\x01" * (MAX_BODY // 2), protobuf, 400),
        ("/forward_backward", b"\x1a\x80\x80\x80\x80\x80\x80\x80\x80\x7f", protobuf, 400),
        ("/healthz", b"", {"Host": "evil.example"}, 421),
        ("/healthz", b"", {"X-API-Key": "tml-wrong"}, 401),
    ]
    with httpx.Client(base_url=f"{address}/api/v1", headers=headers, timeout=60, trust_env=False) as client:
        for path, body, more, status in refused:
            reply = client.post(path, content=body, headers=more) if body else client.get(path, headers=more)
            assert (path, body[:10], reply.status_code) == (path, body[:10], status), reply.text
            assert reply.json()["detail"]
        listed = client.get("/get_server_capabilities")
        assert listed.json() == {"supported_models": []}
    process = psutil.Process(server.pid)
    if sys.platform == "linux":
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
        assert int(peak) * 1024 < MOST_MEMORY
    reached = [each for each in process.net_connections("inet") if each.laddr.ip != "127.0.0.1"]
    assert reached == []
    assert server.poll() is None
