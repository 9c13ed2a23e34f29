"""The commands' side of the control socket."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from prefd.daemon.errors import Exit, PrefdError
from prefd.daemon.home.layout import Home
from prefd.daemon.home.lock import is_held, read_announcement

if TYPE_CHECKING:
    import httpx

    from prefd.daemon.control.status import Status

SILENCE_SECONDS = 45.0
"""An event stream that says nothing for so long is dead: the daemon's heart beats every 15 s."""


class DaemonNotRunning(PrefdError):
    """No daemon answers on this home; the message says how to start one."""

    exit_code = Exit.NO_DAEMON


class ControlError(PrefdError):
    """The daemon answered with an error; the message is the daemon's. `status` is the HTTP status (404: no such job, 409: not
    in its state)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """Every method raises DaemonNotRunning when nothing answers, ControlError when the daemon refuses."""

    def __init__(self, home: Home, timeout: float = 10.0) -> None:
        self.home = home
        self.timeout = timeout

    def status(self) -> Status:
        """What the daemon does now."""
        return parse_status(self.status_document())

    def status_document(self) -> dict[str, Any]:
        """The same as the JSON that the daemon wrote, also those fields of a newer daemon that `Status` has not."""
        return self._ask("GET", "/v1/status")

    def stop(self, wait_seconds: float = 0.0) -> bool:
        """Ask the daemon to stop. True when it has released its home within `wait_seconds`."""
        self._ask("POST", "/v1/stop")
        deadline = time.monotonic() + wait_seconds
        while held := is_held(self.home):
            if time.monotonic() >= deadline:
                break
            time.sleep(0.05)
        return not held

    def act(self, action: str, job_id: int) -> dict[str, Any]:
        """Ask one of JOB_ACTIONS of a job; the job as it is now (Job.to_json())."""
        return self._ask("POST", f"/v1/jobs/{job_id}/{action}")

    def act_on_queue(self, action: str) -> dict[str, Any]:
        """Ask one of QUEUE_ACTIONS: {"queue": {"paused_at": null | float}, "jobs": [Job.to_json() of those acted on]}."""
        return self._ask("POST", f"/v1/queue/{action}")

    def submit(self, spec: bytes, name: str, media: str = "application/json") -> list[dict[str, Any]]:
        """Hand in a spec, or a sweep, as a file holds it: its jobs, queued. What is wrong with it is a ControlError (422)."""
        answer = self._ask("POST", "/v1/jobs", params={"name": name}, content=spec, headers={"Content-Type": media})
        jobs: list[dict[str, Any]] = answer["jobs"]
        return jobs

    def events(self, after: str | None = None, job_id: int | None = None) -> Iterator[Received]:
        """What happens from now on, or behind the event `after` (`0`: from the first job on); the first says `open`.

        It ends when the daemon stops or the connection is cut: whoever goes on comes back with the last `id`.
        """
        given = {"after": after, "job": job_id}
        params = {name: value for name, value in given.items() if value is not None}
        with self._http() as (http, httpx):
            try:
                with http.stream("GET", "/v1/events", params=params, timeout=SILENCE_SECONDS) as reply:
                    if reply.is_error:
                        reply.read()
                        _refuse(reply)
                    yield from read_events(reply)
            except httpx.ConnectError:
                raise self._not_running() from None
            except httpx.TransportError:
                return

    @contextmanager
    def _http(self) -> Iterator[tuple[httpx.Client, ModuleType]]:
        """A client of the socket, and its library. Raises DaemonNotRunning where nobody listens."""
        known = read_announcement(self.home)
        listening = known.socket if known else str(self.home.socket)
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(listening)
        except OSError:
            raise self._not_running() from None
        import httpx  # here: it takes longer to import than the daemon takes to answer

        transport = httpx.HTTPTransport(uds=listening)
        with httpx.Client(transport=transport, base_url="http://prefd", timeout=self.timeout) as http:
            yield http, httpx

    def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        with self._http() as (http, httpx):
            try:
                reply = http.request(method, path, **more)
            except httpx.TimeoutException:
                raise ControlError(504, f"the daemon did not answer within {self.timeout:g} s") from None
            except httpx.TransportError:
                raise self._not_running() from None
        if reply.is_error:
            _refuse(reply)
        value = _json(reply)
        if not isinstance(value, dict):
            raise ControlError(reply.status_code, f"the daemon's answer is not JSON: {reply.text[:200]!r}")
        return value

    def _not_running(self) -> DaemonNotRunning:
        return DaemonNotRunning(f"no daemon runs on {self.home.root}; start one with `prefd start`")


@dataclass(frozen=True)
class Received:
    """An event, and the id to come back with once it has been dealt with."""

    id: str
    kind: str
    """`open`, `job`, `metrics`, `progress` or `reset`."""
    data: dict[str, Any]


def read_events(reply: httpx.Response) -> Iterator[Received]:
    """The events of a stream that the daemon sends. One that was cut off is none, and neither is a heartbeat."""
    from httpx_sse import EventSource

    for event in EventSource(reply).iter_sse():
        if event.data:
            yield Received(event.id, event.event, json.loads(event.data))
        elif event.retry is not None:  # how the daemon begins: a place to come back to, before anything has happened
            yield Received(event.id, "open", {})


def parse_status(document: Mapping[str, Any]) -> Status:
    """Raises ControlError for the status of a daemon of another version, where this one cannot read it."""
    from pydantic import ValidationError

    from prefd.daemon.control.status import Status

    try:
        return Status.model_validate(document)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise ControlError(
            502,
            f"the daemon's status has no {place} that this prefd can read: restart the daemon, it is of another version",
        ) from None


def _refuse(reply: httpx.Response) -> NoReturn:
    """Raises the error that the daemon answered with."""
    value = _json(reply)
    message = value.get("error") if isinstance(value, dict) else None
    raise ControlError(reply.status_code, str(message or f"HTTP {reply.status_code}: {reply.text[:200]}"))


def _json(reply: httpx.Response) -> Any:
    try:
        return reply.json()
    except ValueError:
        return None
