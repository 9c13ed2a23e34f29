"""An S3 API server on loopback that misbehaves on demand: moto's, behind a proxy that counts, refuses and interferes."""

from __future__ import annotations

import http.client
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from prefd.cache.shared.bucket import Bucket

REFUSALS = {403: "AccessDenied", 404: "NoSuchKey", 503: "SlowDown", 507: "InsufficientStorage"}
Rule = Callable[[str, str], int | None]
"""Method and path → the status to refuse a request with; None lets it through."""


def obey(method: str, path: str) -> int | None:
    return None


@dataclass
class FaultyStore:
    """`rule` may be exchanged at any time; `seen` holds every request's method and path."""

    address: str
    rule: Rule = obey
    seen: list[tuple[str, str]] = field(default_factory=list)

    def count(self, method: str, part: str = "") -> int:
        return sum(each == method and part in path for each, path in self.seen)


@contextmanager
def moto() -> Iterator[str]:
    """The address of moto's own S3 API server, which listens on loopback only and ends with the block."""
    from moto.server import ThreadedMotoServer  # its import takes a second, and most of pytest's processes need it not

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@contextmanager
def faulty_store(behind: str) -> Iterator[FaultyStore]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version: ClassVar[str] = "HTTP/1.1"  # type: ignore[misc]  # an attribute of the class there too

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            store.seen.append((self.command, self.path))
            refused = store.rule(self.command, self.path)
            if refused is not None:
                message = f"<Error><Code>{REFUSALS[refused]}</Code><Message>told to</Message></Error>".encode()
                self.answer(refused, {"content-type": "application/xml"}, message)
                return
            connection = http.client.HTTPConnection(behind.removeprefix("http://"), timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            with connection.getresponse() as response:
                end_to_end_headers = {name: value for name, value in response.getheaders() if name.lower() not in HOP}
                length = response.getheader("content-length") if self.command == "HEAD" else None
                self.answer(response.status, end_to_end_headers, response.read(), length)
            connection.close()

        def answer(self, status: int, headers: dict[str, str], body: bytes, length: str | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", length or str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward  # http.server's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    store = FaultyStore(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


HOP = {"content-length", "transfer-encoding", "connection"}


def environment(address: str) -> dict[str, str]:
    """What reaches the server at `address`."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }


def new_prefix(address: str) -> str:
    """A URL of its own in a bucket there."""
    import boto3

    boto3.client("s3", endpoint_url=address, region_name="us-east-1").create_bucket(Bucket="cache")
    return f"s3://cache/{uuid.uuid4().hex}"


def flip_object(url: str, name: str) -> None:
    """Change a bit of an object."""
    bucket = Bucket(url)
    data = bytearray(bucket.get(name))
    data[len(data) // 2] ^= 4
    bucket._obstore.put(bucket._store, name, bytes(data))
