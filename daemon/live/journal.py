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
import time
from collections.abc import Sequence

from prefd.daemon.live.promises import Promise, Submission, parse_line
from prefd.daemon.live.refusal import RefusedCall
from prefd.daemon.live.writing_plan import WritingPlan
from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.runs.live_folder import LiveFolder
from prefd.daemon.worker_tasks.live_requests import FailedResult


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
            promise = parse_line(line)
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
        plan = WritingPlan(self)
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
        is_stuck = self.next_seq in self.held  # it is taken up when one of these clients asks again, as it is told to
        for future, promise in plan.answers:
            if failure is not None and (is_stuck or promise.request_id in plan.unsafe):
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

    async def call_off(self, promise: Promise, reason: str) -> None:
        """Have a request that has no result fail for good: its client is told so, and a job that is run again does not do it.

        Raises OSError.
        """
        if promise.n is not None:
            failed = FailedResult(n=promise.n, category="server", error=reason)
            await run_in_thread(write_json, self.folder.result(promise.n), failed.model_dump(mode="json"))

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
