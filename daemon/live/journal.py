"""Journal keeps what was promised to a client of one model: written down before it is answered, done in order, done once.

For each request that is taken:

    list the promise        a line of promises.jsonl, with the request's digest and its place
    write the request       requests/<n>.json, which the worker does as soon as it is there
    answer the promise      the client may forget the request now

A request whose number is not the next is held, in held/, until all lower ones are in. A crash between two of the steps, or a
full disk, leaves lines whose requests were not written: no client was answered, and each sends its own again. So these lines are
cut off before the next ones are written. What waits to be written meanwhile is written together.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from prefd.cache.segments.durable import flush_file, whole_file
from prefd.daemon.live.refusal import RefusedCall
from prefd.daemon.machine.files import read_json, sync_folder, write_json
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.runs.live_folder import LiveFolder

MAX_HELD = 10_000
"""So many requests may wait for one that comes before them."""


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


class Journal:
    """Journal holds the promises of one model, whose folder is `folder`."""

    def __init__(self, folder: LiveFolder) -> None:
        self.folder = folder
        self.promises: dict[str, Promise] = {}
        """By their request ids."""
        self.held: dict[int, Submission] = {}
        """By their numbers in the client's order."""
        self.next_number = 1
        self.next_seq = 1
        self.listed_bytes = 0
        """So much of promises.jsonl counts: what is behind it was promised to nobody."""
        self._waiting: list[tuple[Submission, asyncio.Future[Promise]]] = []
        self._lock = asyncio.Lock()
        self._open: set[int] = set()
        """The worker's numbers of what has had no result yet, as far as was looked."""
        self._forgotten = 0
        """Up to this number, what was fetched has been deleted."""
        self.fetched: dict[int, float] = {}
        """When each result was fetched since this process began, by the worker's numbers."""

    # --- what was there before

    def load(self) -> None:
        """Read what an earlier process has promised. Raises OSError."""
        applied = self.folder.read_applied()
        for line in self._read_lines():
            promise = _parse_line(line)
            if promise is None or (
                promise.n is not None and promise.n > applied and not self.folder.request(promise.n).exists()
            ):
                break  # the process ended before all of it was written, so no client was answered
            self._list(promise)
            self.listed_bytes += len(line)
        for path in self.folder.requests.glob("*.json"):
            if int(path.stem) >= self.next_number:
                path.unlink()
        for path in self.folder.held.glob("*.json"):
            document = read_json(path)
            if isinstance(document, dict) and int(path.stem) >= self.next_seq:
                self.held[int(path.stem)] = Submission(Promise(**document["promise"]), document["body"])
        self._open = {each.n for each in self.promises.values() if each.n is not None}

    async def resume(self) -> None:
        """Number what an earlier process held and did not come to number. Raises OSError."""
        async with self._lock:
            await self._take([])

    def _read_lines(self) -> list[bytes]:
        try:
            return self.folder.promises.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []

    def _list(self, promise: Promise) -> None:
        self.promises[promise.request_id] = promise
        if promise.n is not None:
            self.next_number = max(self.next_number, promise.n + 1)
        if promise.seq is not None:
            self.next_seq = max(self.next_seq, promise.seq + 1)

    # --- what comes in

    async def submit(self, promise: Promise, body: str | None) -> Promise:
        """Take a request, once it is written down. `body`: of `write_body`; None where the server has the answer.

        Raises RefusedCall for another request with a number that is taken, and OSError.
        """
        future: asyncio.Future[Promise] = asyncio.get_running_loop().create_future()
        self._waiting.append((Submission(promise, body), future))
        async with self._lock:
            if not future.done():  # else another has written it along with its own
                batch, self._waiting = self._waiting, []
                await self._take(batch)
        return await future

    async def _take(self, batch: Sequence[tuple[Submission, asyncio.Future[Promise]]]) -> None:
        plan = _Plan(self)
        for submission, future in batch:
            try:
                promise = plan.add(submission)
            except RefusedCall as error:
                future.set_exception(error)
            else:
                plan.answers.append((future, promise))
        plan.adopt_held()
        failure: Exception | None = None
        try:
            await run_in_thread(plan.write, self.folder)
        except Exception as error:  # noqa: BLE001  # raised again in the callers
            failure = error
        for promise, line in plan.written:  # its worker may be at it already, whatever became of those behind it
            self._list(promise)
            self.listed_bytes += len(line)
            if promise.n is not None:
                self._open.add(promise.n)
            if promise.seq is not None:
                self.held.pop(promise.seq, None)
        self.held |= plan.written_held
        for future, promise in plan.answers:
            if failure is not None and promise.request_id in plan.unsafe:
                future.set_exception(failure)
            else:
                future.set_result(promise)

    # --- what goes out

    def find(self, request_id: str) -> Promise | None:
        """Return the promise of this id, also one that is held; None where there is none."""
        if (promise := self.promises.get(request_id)) is not None:
            return promise
        return next((each.promise for each in self.held.values() if each.promise.request_id == request_id), None)

    def read_result(self, number: int) -> bytes | None:
        """Return a result as the worker wrote it; None while it is not there."""
        try:
            return self.folder.result(number).read_bytes()
        except FileNotFoundError:
            return None

    def has_room(self, most: int) -> bool:
        """Return whether fewer than `most` requests are without a result."""
        return (
            len(self.held) + len(self._open) < most or self.pending < most
        )  # the files are looked at where they must be

    @property
    def pending(self) -> int:
        """Count the requests without a result."""
        self._open = {number for number in self._open if not self._is_done(number)}
        return len(self.held) + len(self._open)

    def is_awaited(self, owner: str) -> bool:
        """Return whether a request of `owner`, a model or a sampler, is without a result."""
        return bool(self.pending) and any(
            promise.n in self._open and promise.request_id.rpartition(":")[0] == owner
            for promise in self.promises.values()
        )

    def _is_done(self, number: int) -> bool:
        return number in self.fetched or number <= self._forgotten or self.folder.result(number).exists()

    def note_fetched(self, number: int) -> None:
        """Note that a client has a result, unless its answer was lost on the way."""
        self.fetched.setdefault(number, time.monotonic())

    def is_forgotten(self, number: int) -> bool:
        """Return whether a result was fetched long ago, and is deleted."""
        return number <= self.folder.read_applied() and not self.folder.result(number).exists()

    async def forget_fetched(self, grace: float) -> None:
        """Delete the requests whose effects the worker has saved, and results that were fetched more than `grace` seconds ago.

        Raises OSError.
        """
        applied = self.folder.read_applied()
        requests = range(max(2, self._forgotten + 1), applied + 1)  # the first tells what the model is
        now = time.monotonic()
        results = [n for n, moment in self.fetched.items() if 1 < n <= applied and now - moment > grace]

        def delete() -> None:
            for path in [*map(self.folder.request, requests), *map(self.folder.result, results)]:
                path.unlink(missing_ok=True)

        await run_in_thread(delete)
        self._forgotten = max(self._forgotten, applied)
        for number in results:
            del self.fetched[number]


def _parse_line(line: bytes) -> Promise | None:
    """Parse a line of promises.jsonl; None for one that a crash has cut."""
    try:
        return Promise(**json.loads(line)) if line.endswith(b"\n") else None
    except (ValueError, TypeError):
        return None


class _Plan:
    """_Plan decides what becomes of a batch of requests, and writes it down."""

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
        known = self._own.get(promise.request_id) or self.journal.find(promise.request_id)
        if known is not None:
            if known.digest != promise.digest:
                raise RefusedCall(
                    422, f"request {promise.request_id} was made before with other content: each needs its own number"
                )
            return known
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
            sync_folder(folder.held)
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
                sync_folder(folder.requests)
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
        sync_folder(path.parent)
