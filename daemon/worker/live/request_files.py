"""Reads a session's requests in their order, and writes its results, each whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeGuard, TypeVar

from pydantic import ValidationError

from prefd.cache.segments.durable import flush, flush_for_good
from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.runs.live_folder import LiveFolder
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker_tasks.live_requests import AnyRequest, FailedResult, LiveResult, parse_request, parse_result

Kind = TypeVar("Kind", bound=AnyRequest)
Result = TypeVar("Result", bound=LiveResult)


@dataclass
class RequestFiles:
    """RequestFiles is the order of a session's requests: the next one is the one behind the last that was done."""

    folder: LiveFolder
    done: int
    """The number of the last request that was done."""
    written: list[int] = field(default_factory=list)
    """Results that were written and may not be on the disk yet."""

    def is_waiting(self) -> bool:
        """Say whether the next request is there."""
        return self.folder.request(self.done + 1).exists()

    def read_next(self) -> AnyRequest | FailedResult | None:
        """Read the next request, a FailedResult in the place of one that cannot be read; None where it is not there yet."""
        return self._read(self.done + 1)

    def require_no_gap(self) -> None:
        """Raise `JobError` where the next request is not there and a later one is: the server writes them in their order."""
        later = [int(path.stem) for path in self.folder.requests.glob("*.json") if int(path.stem) > self.done]
        if later and not self.is_waiting():
            raise JobError(
                f"request {self.done + 1} is not in {self.folder.requests}, and request {min(later)} is: what the session had come "
                "to was deleted, so it cannot go on; begin anew, from saved weights where there are some"
            )

    def read_run(self, fits: Callable[[AnyRequest], TypeGuard[Kind]]) -> list[Kind]:
        """Read the next requests as far as each `fits`."""
        run: list[Kind] = []
        while (request := self._read(self.done + 1 + len(run))) is not None:
            if isinstance(request, FailedResult) or not fits(request):
                break
            run.append(request)
        return run

    def _read(self, n: int) -> AnyRequest | FailedResult | None:
        try:
            content = self.folder.request(n).read_bytes()
        except FileNotFoundError:
            return None
        try:
            request = parse_request(content)
            if request.n != n:
                raise JobError(f"it calls itself request {request.n}")
        except (ValidationError, JobError) as error:
            reason = error.errors()[0] if isinstance(error, ValidationError) else None
            words = f"{'.'.join(map(str, reason['loc']))}: {reason['msg']}" if reason else str(error)
            return FailedResult(n=n, category="user", error=f"request {n} cannot be read: {words}")
        return request

    def read_result(self, request: Kind, kind: type[Result]) -> Result | FailedResult | None:
        """Read the result that a request was given before a crash; None where there is none, or a power cut has taken it."""
        try:
            return parse_result(kind, self.folder.result(request.n).read_bytes())
        except (OSError, ValidationError):
            return None

    def finish(self, result: LiveResult) -> None:
        """Write the result of the next request, unless it was written before a crash, and go on behind it."""
        path = self.folder.result(result.n)
        if read_json(path) is None:
            write_json(path, json.loads(result.model_dump_json()), flush=False, indent=None)
            self.written.append(result.n)
        self.done = result.n

    def flush(self) -> None:
        """Flush the results to the disk, so that no saved state has the effect of a request whose result a power cut took."""
        for n in self.written:
            if (path := self.folder.result(n)).exists():  # or it has been fetched
                flush(path)
        if self.written:
            flush_for_good(self.folder.results)
        self.written.clear()
