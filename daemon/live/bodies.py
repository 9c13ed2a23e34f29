"""Reads the body of a request: no more than it may have, and no more than it may have once it is unpacked."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from prefd.daemon.live.guard import MAX_BODY
from prefd.daemon.live.refusal import RefusedCall
from prefd.daemon.machine.threads import run_in_thread

MAX_UNPACKED = 64 * 2**20
"""Bytes of a body once it is unpacked."""
MAX_PARTS = 2_000_000
"""Lists, objects and quotes in a body of JSON: each takes some fifty bytes of memory, however few it has in the body."""
LONG = 2**16
"""Bytes of a body that is parsed in a thread, so that others are answered meanwhile."""
TOO_LARGE = f"the body unpacks to more than {MAX_UNPACKED // 2**20} MiB: send fewer datums at once"

B = TypeVar("B", bound=BaseModel)
T = TypeVar("T")


async def read_body(request: Request) -> bytes:
    """Read the whole body, unpacked. Raises RefusedCall (400, 413, 415)."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise RefusedCall(413, f"a body has at most {MAX_BODY // 2**20} MiB: send fewer datums at once")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return bytes(body)
    if encoding not in UNPACKERS:
        raise RefusedCall(415, f"a body is packed with {' or '.join(UNPACKERS)}, not with {encoding[:50]!r}")
    return await run_in_thread(UNPACKERS[encoding], bytes(body))


def unpack_gzip(data: bytes) -> bytes:
    """Unpack gzip, and stop where it becomes too large. Raises RefusedCall (400, 413)."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        unpacked = unpacker.decompress(data, MAX_UNPACKED + 1)
    except zlib.error as error:
        raise RefusedCall(400, f"the body is no gzip: {error}") from None
    if len(unpacked) > MAX_UNPACKED:
        raise RefusedCall(413, TOO_LARGE)
    if not unpacker.eof:
        raise RefusedCall(400, "the body is no whole gzip: it is cut off")
    return unpacked


def unpack_zstd(data: bytes) -> bytes:
    """Unpack zstd, and stop where it becomes too large. Raises RefusedCall (400, 413)."""
    import pyarrow as pa  # here: few clients pack, and it takes a while to import

    try:
        unpacked = bytearray()
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            while part := stream.read(2**20):
                unpacked += part
                if len(unpacked) > MAX_UNPACKED:
                    raise RefusedCall(413, TOO_LARGE)
    except (OSError, pa.ArrowException) as error:
        raise RefusedCall(400, f"the body is no zstd: {error}") from None
    return bytes(unpacked)


UNPACKERS = {"gzip": unpack_gzip, "zstd": unpack_zstd}


async def read_json_body(request: Request) -> tuple[dict[str, Any], bytes]:
    """Read a JSON object, and return it with its bytes. Raises RefusedCall."""
    body = await read_body(request)
    if sum(body.count(mark) for mark in (b"[", b"{", b'"')) > MAX_PARTS:
        raise RefusedCall(
            413, f"the body has more than {MAX_PARTS:,} lists, objects and texts: send fewer datums at once"
        )
    try:
        document = await parse_apart(json.loads, body) if body else {}
    except (ValueError, RecursionError):
        raise RefusedCall(400, "the body is no JSON") from None
    if not isinstance(document, dict):
        raise RefusedCall(400, "the body is a JSON object")
    return document, body


async def parse_apart(parse: Callable[[bytes], T], body: bytes) -> T:
    """Parse a body, in a thread where it is long."""
    return parse(body) if len(body) < LONG else await run_in_thread(parse, body)


def parse_document(document: dict[str, Any], kind: type[B]) -> B:
    """Return a document typed; fields that are not known are left. Raises RefusedCall (422) with what is wrong."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise RefusedCall(422, "; ".join(faults)) from None
