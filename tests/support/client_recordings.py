"""Recordings of what clients send: every request of tests/support/client_program.py and its answer, of one version each.

They stand in for the client where it is not installed. `python -m support.client_recordings PYTHON`, in tests/, makes one anew with
the client of that Python.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from support.live_server import HOST, KEY, LivePlace, listening
from support.paths import ROOT, SUPPORT

FOLDER = ROOT / "tests" / "daemon" / "live" / "recordings"
ID = re.compile(rb"[0-9a-f]{32}")
KEPT = ("content-type", "accept", "content-encoding", "x-sdk-method", "x-idempotency-key")
PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); import client_program as program; program.MANY = 4; program.main('local/a')"


@dataclass(frozen=True)
class Exchange:
    """One request of a client, and what it was answered; a poll that was told to come again is none."""

    method: str
    path: str
    headers: dict[str, str]
    body: str
    """In base64, as is the answer."""
    status: int
    answer: str


class Recorder:
    """It stands before the application, and keeps what passes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.exchanges: list[Exchange] = []
        self.hosts: Sequence[str] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.app.hosts = self.hosts  # type: ignore[attr-defined]
        request, answered = bytearray(), bytearray()
        status = [0]

        async def hear() -> Message:
            message = await receive()
            request.extend(message.get("body", b""))
            return message

        async def tell(message: Message) -> None:
            status[0] = message.get("status", status[0])
            answered.extend(message.get("body", b""))
            await send(message)

        await self.app(scope, hear, tell)
        if status[0] != 408:
            headers = {name.decode(): value.decode() for name, value in scope["headers"] if name.decode() in KEPT}
            path = scope["path"].removeprefix("/api/v1")
            both = (base64.b64encode(each).decode() for each in (request, answered))
            body, answer = both
            self.exchanges.append(Exchange(scope["method"], path, headers, body, status[0], answer))


def record(python: str) -> Path:
    """Have the client of a Python drive the server, and write down what passed."""
    version = subprocess.run(
        [python, "-c", "import importlib.metadata; print(importlib.metadata.version('tinker'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        place = LivePlace(Path(folder))
        recorder = Recorder(place.app)
        place.app = recorder
        with listening(place) as url:
            environment = os.environ | {"TINKER_BASE_URL": url, "TINKER_API_KEY": KEY, "TINKER_TELEMETRY": "0"}
            subprocess.run([python, "-c", PROGRAM, str(SUPPORT)], env=environment, check=True, timeout=240)
    path = FOLDER / f"{version}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(asdict(each)) + "\n" for each in recorder.exchanges))
    return path


def read(path: Path) -> list[Exchange]:
    """Read a recording."""
    return [Exchange(**json.loads(line)) for line in path.read_text().splitlines()]


async def replay(place: LivePlace, exchanges: Sequence[Exchange], forgetful: bool) -> list[tuple[int, bytes]]:
    """Send what a client sent, with the ids that the server gives now, and return its answers with the ids of the recording.

    Where it is `forgetful`, every answer but that of a session's end is lost, the server is started anew, and the client asks again.
    """
    ids: dict[bytes, bytes] = {}
    answers = []
    for each in exchanges:
        reply = await send(place, each, ids)
        if forgetful and not each.path.endswith("/finish"):
            place.restart()
            reply = await send(place, each, ids)
        for old, new in zip(ID.findall(base64.b64decode(each.answer)), ID.findall(reply.content)):
            ids.setdefault(old, new)
        answers.append((reply.status_code, replace_ids(reply.content, {new: old for old, new in ids.items()})))
    return answers


async def send(place: LivePlace, exchange: Exchange, ids: dict[bytes, bytes]) -> httpx.Response:
    """Send one request until it is not told to come again."""
    headers = {**exchange.headers, "X-API-Key": KEY, "Host": HOST}
    path = replace_ids(exchange.path.encode(), ids).decode()
    body = replace_ids(base64.b64decode(exchange.body), ids)
    transport = httpx.ASGITransport(app=place.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        while True:
            reply = await http.request(exchange.method, f"/api/v1{path}", headers=headers, content=body)
            if reply.status_code != 408:
                return reply


def replace_ids(content: bytes, ids: dict[bytes, bytes]) -> bytes:
    """Put other session ids in place of those that are there: all have one length, which protobuf counts."""
    return ID.sub(lambda match: ids.get(match[0], match[0]), content)


if __name__ == "__main__":
    print(record(sys.argv[1]))
