"""WritingPlan numbers the requests that come in together, and writes them down in the order that a crash may cut anywhere."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prefd.cache.segments.durable import flush, flush_file, whole_file
from prefd.daemon.live.promises import Promise, Submission
from prefd.daemon.live.refusal import RefusedCall
from prefd.daemon.machine.files import write_json
from prefd.daemon.runs.live_folder import LiveFolder

if TYPE_CHECKING:
    from prefd.daemon.live.journal import Journal

MAX_HELD = 10_000
"""So many requests may wait for one that comes before them."""


class WritingPlan:
    """WritingPlan decides what becomes of a batch of requests, and writes it down."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.next_number = journal.next_number
        self.next_seq = journal.next_seq
        self.listed: list[tuple[Promise, str | None]] = []
        """The promises in their order, each with the request that its worker reads."""
        self.held: dict[int, Submission] = {}
        self.written: list[tuple[Promise, bytes]] = []
        """What is on the disk, with its line."""
        self.written_held: dict[int, Submission] = {}
        self.unsafe: set[str] = set()
        """The ids of what a power cut may take yet."""
        self.answers: list[tuple[asyncio.Future[Promise], Promise]] = []
        self._own: dict[str, Promise] = {}

    def add(self, submission: Submission) -> Promise:
        """Decide on one request, and return its promise; a held one is numbered by `adopt_held`. Raises RefusedCall."""
        promise = submission.promise
        earlier = self._own.get(promise.request_id) or self.journal.find(promise.request_id)
        if earlier is not None:
            if earlier.digest != promise.digest:
                raise RefusedCall(
                    422, f"request {promise.request_id} was made before with other content: each needs its own number"
                )
            return earlier
        self._own[promise.request_id] = promise
        if promise.seq is None:
            return self._number(submission)
        if promise.seq < self.next_seq:
            raise RefusedCall(422, f"request {promise.seq} is behind the next, {self.next_seq}: numbers rise by one")
        if promise.seq > self.next_seq:
            if len(self.held) + len(self.journal.held) >= MAX_HELD:
                raise RefusedCall(429, f"{MAX_HELD} requests wait for number {self.next_seq} already: send that first")
            self.held[promise.seq] = submission
            return promise
        return self._number(submission)

    def adopt_held(self) -> None:
        """Number those that are held and whose turn it is now."""
        while (following := self.held.pop(self.next_seq, None) or self.journal.held.get(self.next_seq)) is not None:
            self._number(following)

    def _number(self, submission: Submission) -> Promise:
        promise = submission.promise
        if submission.body is not None:
            promise = replace(promise, n=self.next_number)
            self.next_number += 1
        if promise.seq is not None:
            self.next_seq = promise.seq + 1
        self.listed.append((promise, submission.body))
        return promise

    def write(self, folder: LiveFolder) -> None:
        """Write it all down for good, each request only when all before it are there. Raises OSError.

        Afterwards `written` and `written_held` are what is there, also where it raises.
        """
        self.unsafe = {promise.request_id for promise, _ in self.listed}
        self.unsafe |= {submission.promise.request_id for submission in self.held.values()}
        for seq, submission in self.held.items():
            write_json(folder.held / f"{seq:09d}.json", submission.to_json(), indent=None)
        if self.held:
            flush(folder.held)
        self.written_held = self.held
        self.unsafe -= {submission.promise.request_id for submission in self.held.values()}
        lines = [json.dumps(asdict(promise)).encode() + b"\n" for promise, _ in self.listed]
        if lines:
            _append(folder.promises, self.journal.listed_bytes, b"".join(lines))
        try:
            for (promise, body), line in zip(self.listed, lines, strict=True):
                if body is not None:
                    assert promise.n is not None
                    path = folder.request(promise.n)
                    with whole_file(path, path.with_name(f".{path.name}.tmp")) as file:
                        file.write(f'{{"n": {promise.n}, {body[1:]}'.encode())
                self.written.append((promise, line))
        finally:
            if any(promise.n is not None for promise, _ in self.written):
                flush(folder.requests)
            self.unsafe -= {promise.request_id for promise, _ in self.written}
        for promise, _ in self.written:
            if promise.seq is not None:
                (folder.held / f"{promise.seq:09d}.json").unlink(missing_ok=True)


def _append(path: Path, size: int, content: bytes) -> None:
    """Append to a file of which the first `size` bytes count, and cut off what is behind them. Raises OSError."""
    is_new = not path.exists()
    with path.open("xb" if is_new else "r+b") as file:
        file.truncate(size)
        file.seek(size)
        file.write(content)
        flush_file(file)
    if is_new:
        flush(path.parent)
