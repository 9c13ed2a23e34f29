"""Promise is what a client is given for a request that was taken; Submission is the request on its way in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from prefd.daemon.live.refusal import RefusedCall


@dataclass(frozen=True)
class Promise:
    """Promise is a request that was taken, as promises.jsonl has it."""

    request_id: str
    """What the client asks for the result by."""
    kind: str
    """What the result is answered as."""
    digest: str
    """Of the request's content: one that comes again is the same."""
    seq: int | None = None
    """Its number among those that are done in the client's order; None where any order will do."""
    n: int | None = None
    """Its number in the worker's order; None where the server itself has the answer."""
    error: str = ""
    """Why it cannot be done, where the server found that."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """What the answer needs beside the result."""


@dataclass(frozen=True)
class Submission:
    """Submission is a request on its way in."""

    promise: Promise
    body: str | None
    """The request's JSON as the worker reads it, without its number; None where the server itself has the answer."""

    def to_json(self) -> dict[str, Any]:
        """Return it as it is written while it is held."""
        return {"promise": asdict(self.promise), "body": self.body}


def write_body(document: Mapping[str, Any]) -> str:
    """Return a request's JSON. Raises RefusedCall (400) for numbers that are not finite."""
    try:
        return json.dumps(document, allow_nan=False)
    except ValueError:
        raise RefusedCall(400, "the request has numbers that are not finite (NaN or infinity): send none") from None


def digest_content(content: bytes) -> str:
    """Return what tells one request's content from another's."""
    return hashlib.sha256(content).hexdigest()


def parse_line(line: bytes) -> Promise | None:
    """Parse a line of promises.jsonl; None for one that a crash has cut."""
    try:
        return Promise(**json.loads(line)) if line.endswith(b"\n") else None
    except (ValueError, TypeError):
        return None
