"""Journal keeps what was promised to a client of one model: written down before it is answered, done in order, done once.

For each request that is taken:

    list the promise        a line of promises.jsonl, with the request's digest and its place
    write the request       requests/<n>.json, which the worker does as soon as it is there
    answer the promise      the client may forget the request now

A request whose number is not the next is held, in held/, until all lower ones are in. A crash between two of the steps leaves
what no client was answered, and the client sends it again. What waits to be written meanwhile is written together.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
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
        listed: dict[int, Promise] = {}
        for promise in self._read_lines():
            if promise.n is None:
                self._list(promise)
            else:
                listed[promise.n] = promise  # one that was not written after all gave its number to the next
        applied = self.folder.read_applied()
        for number in sorted(listed):
            if number > applied and not self.folder.request(number).exists():
                break  # the process ended before it was written, so no client was answered
            self._list(listed[number])
            self.next_number = number + 1
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

    def _read_lines(self) -> list[Promise]:
        try:
            lines = self.folder.promises.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        promises = []
        for line in lines:
            try:
                promises.append(Promise(**json.loads(line)))
            except (ValueError, TypeError):  # cut by a crash
                continue
        return promises

    def _list(self, promise: Promise) -> None:
        self.promises[promise.request_id] = promise
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
        try:
            await run_in_thread(plan.write, self.folder)
        except Exception as error:  # noqa: BLE001  # raised again in the callers
            for future, _ in plan.answers:
                future.set_exception(error)
            return
        for promise in plan.listed:
            self._list(promise)
            if promise.n is not None:
                self._open.add(promise.n)
            if promise.seq is not None:
                self.held.pop(promise.seq, None)
        self.held |= plan.held
        self.next_number = plan.next_number
        for future, promise in plan.answers:
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

    def _is_done(self, number: int) -> bool:
        return number in self.fetched or number <= self._forgotten or self.folder.result(number).exists()

    def note_fetched(self, number: int) -> None:
        """Note that a client has a result, unless its answer was lost on the way."""
        self.fetched.setdefault(number, time.monotonic())

    def is_forgotten(self, number: int) -> bool:
        """Return whether a result was fetched long ago, and is deleted."""
        return number <= self.folder.read_applied() and not self.folder.result(number).exists()

    def forget_fetched(self, grace: float) -> None:
        """Delete the requests whose effects the worker has saved, and results that were fetched more than `grace` seconds ago."""
        applied = self.folder.read_applied()
        for number in range(max(2, self._forgotten + 1), applied + 1):  # the first tells what the model is
            self.folder.request(number).unlink(missing_ok=True)
        self._forgotten = max(self._forgotten, applied)
        for number, moment in self.fetched.items():
            if 1 < number <= applied and time.monotonic() - moment > grace:
                self.folder.result(number).unlink(missing_ok=True)


class _Plan:
    """_Plan decides what becomes of a batch of requests, and writes it down."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.next_number = journal.next_number
        self.next_seq = journal.next_seq
        self.listed: list[Promise] = []
        self.requests: list[tuple[int, str]] = []
        self.held: dict[int, Submission] = {}
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
            self.requests.append((self.next_number, submission.body))
            self.next_number += 1
        if promise.seq is not None:
            self.next_seq = promise.seq + 1
        self.listed.append(promise)
        return promise

    def write(self, folder: LiveFolder) -> None:
        """Write it all down for good, each request only when all before it are there. Raises OSError."""
        for seq, submission in self.held.items():
            write_json(folder.held / f"{seq:09d}.json", submission.to_json(), indent=None)
        if self.held:
            sync_folder(folder.held)
        if self.listed:
            with folder.promises.open("ab") as file:
                file.write(b"".join(json.dumps(asdict(each)).encode() + b"\n" for each in self.listed))
                flush_file(file)
        for number, body in self.requests:
            path = folder.request(number)
            with whole_file(path, path.with_name(f".{path.name}.tmp")) as file:
                file.write(f'{{"n": {number}, {body[1:]}'.encode())
        if self.requests:
            sync_folder(folder.requests)
        for promise in self.listed:
            if promise.seq is not None:
                (folder.held / f"{promise.seq:09d}.json").unlink(missing_ok=True)
