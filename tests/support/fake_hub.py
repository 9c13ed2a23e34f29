"""A stand-in for the Hugging Face hub on this machine: as much of its HTTP as an upload takes, and what was sent to it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FakeHub:
    """What the hub holds; `url` is its address."""

    url: str = ""
    token: str = "hf_good"
    private: dict[str, bool] = field(default_factory=dict)
    """Repository → whether it is private."""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Repository → its files by name."""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if path == "/api/repos/create":
            document = json.loads(body)
            name = "/".join(filter(None, (document.get("organization"), document["name"])))
            if name in self.private:
                return 409, {"error": "You already created this model repo", "url": f"{self.url}/{name}"}
            self.private[name] = document.get("private", False) or document.get("visibility") == "private"  # 1.x, 2.x
            return 200, {"url": f"{self.url}/{name}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        repo, _, rest = path.removeprefix("/api/models/").partition("/preupload/main")
        if method == "POST" and path.endswith("/preupload/main"):
            names = [each["path"] for each in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            return 200, {"files": modes}
        if method == "POST" and path.endswith("/commit/main"):
            repo = repo.removesuffix("/commit/main")
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.files.setdefault(repo, {})[line["value"]["path"]] = content
            return 200, {"commitUrl": f"{self.url}/{repo}/commit/abc", "commitOid": "abc", "pullRequestUrl": None}
        if method == "GET" and not rest and repo in self.private:
            return 200, {
                "_id": "1",
                "id": repo,
                "modelId": repo,
                "private": self.private[repo],
                "tags": [],
                "downloads": 0,
            }
        return 404, {"error": f"{method} {path}"}


@contextmanager
def run_hub() -> Iterator[FakeHub]:
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            is_known = self.headers.get("Authorization") == f"Bearer {hub.token}"
            status, document = (
                hub.answer(self.command, self.path.partition("?")[0], body)
                if is_known
                else (401, {"error": "Invalid username or password."})
            )
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_any

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
