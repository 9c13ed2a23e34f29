"""Client asks the daemon over its control socket, for the commands."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from prefd.daemon.control import answers
from prefd.daemon.control.control_error import ControlError
from prefd.daemon.control.foreign_daemon import find_foreign_daemon
from prefd.daemon.errors import Exit, PrefdError
from prefd.daemon.home.identity import is_served_by
from prefd.daemon.home.layout import Home
from prefd.daemon.home.lock import Holder, is_held, read_announcement

if TYPE_CHECKING:
    import httpx

    from prefd.daemon.control.answers import Acted
    from prefd.daemon.control.status import Status
    from prefd.daemon.jobs.event_kinds import EventData
    from prefd.daemon.jobs.job import Job
    from prefd.daemon.runs.pair_answers import PairsState

SILENCE_SECONDS = 45.0
"""An event stream that says nothing for so long is dead: the daemon's heart beats every 15 s."""

START_SECONDS = 10.0
"""A daemon that holds a home for no longer may not listen yet."""


class DaemonNotRunning(PrefdError):
    """No daemon answers on this home; the message says how to start one."""

    exit_code = Exit.NO_DAEMON
    http_status = 503
    state = "not running"


class DaemonSilent(DaemonNotRunning):
    """The home's lock is held, and its holder does not answer; the message says what to do, for starting another fails."""

    exit_code = Exit.FAILED
    state = "does not answer"


class DaemonChanging(DaemonSilent):
    """The home's lock has just been taken, or is just being given up: the same question has an answer in a moment."""


class Client:
    """Client asks the daemon; every method raises DaemonNotRunning when nothing answers, ControlError when the daemon refuses."""

    def __init__(self, home: Home, timeout: float = 10.0) -> None:
        self.home = home
        self.timeout = timeout
        self._ours: str | None = None
        """The socket whose daemon has named this home."""
        self._greeting: dict[str, Any] | None = None
        """The status by which it has just named it."""

    def status(self) -> Status:
        """Asks what the daemon does now."""
        return answers.parse_status(self.status_document())

    def status_document(self) -> dict[str, Any]:
        """Asks for the status as the JSON that the daemon wrote, also fields of a newer daemon that `Status` has not."""
        with self._http() as (http, httpx):
            status, self._greeting = self._greeting, None
            return status or self._request(http, httpx, "GET", "/v1/status")

    def explain_unreadable(self, path: Path) -> str | None:
        """Asks whether the daemon itself can read `path`; returns why not, None where it can or is of an earlier version."""
        try:
            reason = self._ask("GET", "/v1/readable", params={"path": str(path)}).get("reason")
        except ControlError as error:
            if error.status == 404:
                return None
            raise
        return None if reason is None else str(reason)

    def stop(self, wait_seconds: float = 0.0) -> bool:
        """Asks the daemon to stop. True when it has released its home within `wait_seconds`."""
        self._ask("POST", "/v1/stop")
        return self.wait_for_end(wait_seconds)

    def wait_for_end(self, wait_seconds: float) -> bool:
        """Waits for the daemon to release its home. True when it has done so within `wait_seconds`."""
        deadline = time.monotonic() + wait_seconds
        while is_running := is_held(self.home):
            if time.monotonic() >= deadline:
                break
            time.sleep(0.05)
        return not is_running

    def act(self, action: str, job_id: int) -> Job:
        """Asks for one of JOB_ACTIONS on a job; returns the job as it is now."""
        return answers.parse_job(self._ask("POST", f"/v1/jobs/{job_id}/{action}"))

    def act_on_jobs(self, action: str, job_ids: Sequence[int]) -> None:
        """Asks for one of JOBS_ACTIONS on all of these jobs, or on none of them."""
        self._ask("POST", f"/v1/jobs/{action}", json={"jobs": list(job_ids)})

    def score_pairs(self, job_id: int) -> PairsState:
        """Asks to score the pairs of a finished job, and returns how that stands. Refusals are a ControlError (404, 409, 429)."""
        return answers.parse_pairs_state(self._ask("POST", f"/v1/jobs/{job_id}/pairs"))

    def discard(self, part: str, job_ids: Sequence[int]) -> None:
        """Asks to delete the `checkpoints` or `fused` folders of ended jobs."""
        self._ask("POST", "/v1/discard", json={"jobs": list(job_ids), "part": part})

    def edit(self, job_id: int, request: Mapping[str, Any]) -> Job:
        """Asks to change what a job that waits is (EditRequest), and returns the job. Faults are a ControlError (409, 422)."""
        return answers.parse_job(self._ask("POST", f"/v1/jobs/{job_id}/edit", json=request))

    def edit_settings(self, job_ids: Sequence[int], settings: Mapping[str, Any]) -> list[Job]:
        """Asks to change the same settings of jobs that wait, of all or of none. Faults are a ControlError (409, 422)."""
        body = {"jobs": list(job_ids), "settings": dict(settings)}
        return answers.parse_edited(self._ask("POST", "/v1/jobs/edit", json=body))

    def act_on_queue(self, action: str) -> Acted:
        """Asks for one of QUEUE_ACTIONS; returns the queue as it is now and the jobs acted on."""
        return answers.parse_acted(self._ask("POST", f"/v1/queue/{action}"))

    def submit(self, spec: bytes, name: str, media: str = "application/json") -> list[Job]:
        """Hands in a spec, or a sweep, as a file holds it, and returns its queued jobs. Its faults are a ControlError (422)."""
        answer = self._ask("POST", "/v1/jobs", params={"name": name}, content=spec, headers={"Content-Type": media})
        return answers.parse_queued(answer).jobs

    def open_live(self, model: Mapping[str, Any]) -> Job:
        """Has a model queued that a client of `prefd serve` holds (LiveModel), and returns its job. Faults are a ControlError (422)."""
        return answers.parse_job(self._ask("POST", "/v1/live", json=model))

    def events(self, after: str | None = None, job_id: int | None = None) -> Iterator[Received]:
        """Yields what happens from now on, or behind the event `after` (`0`: from the first job on); the first event is `open`.

        It ends when the daemon stops or the connection is cut: a caller that goes on comes back with the last `id`.
        """
        parameters = {"after": after, "job": job_id}
        params = {name: value for name, value in parameters.items() if value is not None}
        with self._http() as (http, httpx):
            try:
                with http.stream("GET", "/v1/events", params=params, timeout=SILENCE_SECONDS) as reply:
                    if reply.is_error:
                        reply.read()
                        _raise_refusal(reply)
                    yield from read_events(reply)
            except httpx.ConnectError:
                raise find_foreign_daemon(self.home) or self._not_running() from None
            except httpx.TransportError:
                return

    @contextmanager
    def _http(self) -> Iterator[tuple[httpx.Client, ModuleType]]:
        """Opens a client of this home's daemon, and returns its library with it. Raises DaemonNotRunning.

        `daemon.json` and the socket are files that people copy with a home, so they are believed only while this home's own
        lock is held, and of a daemon that names this home.
        """
        if not is_held(self.home):
            raise self._not_running()
        announcement = read_announcement(self.home)
        # the second is the right one after the home was renamed
        for path in dict.fromkeys([*([announcement.socket] if announcement else []), str(self.home.socket)]):
            if not _listens(path):
                continue
            import httpx  # here: it takes longer to import than the daemon takes to answer

            # no TLS on a socket of one's own, and no proxy: certificates that nobody checks take 25 ms to load
            transport = httpx.HTTPTransport(uds=path, verify=False, trust_env=False)
            options: dict[str, Any] = {"base_url": "http://prefd", "timeout": self.timeout, "trust_env": False}
            with httpx.Client(transport=transport, **options) as http:
                if path == self._ours or self._is_ours(http, httpx):
                    self._ours = path
                    yield http, httpx
                    return
        raise find_foreign_daemon(self.home) or self._silent(announcement)

    def _is_ours(self, http: httpx.Client, library: ModuleType) -> bool:
        """Asks a daemon for its status, and returns whether it serves this home."""
        self._greeting = self._request(http, library, "GET", "/v1/status")
        return is_served_by(self._greeting, self.home.root)

    def relay(self, method: str, target: str, content: bytes, media: str) -> httpx.Response:
        """Hands on a request as it came, and returns the daemon's answer as it is, also where that is a refusal."""
        with self._http() as (http, httpx):
            return self._send(http, httpx, method, target, content=content, headers={"Content-Type": media})

    def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        with self._http() as (http, httpx):
            return self._request(http, httpx, method, path, **options)

    def _send(self, http: httpx.Client, library: ModuleType, method: str, path: str, **options: Any) -> httpx.Response:
        """Makes one request, and returns whatever the daemon answers."""
        try:
            return http.request(method, path, **options)
        except library.TimeoutException:
            raise ControlError(504, f"the daemon did not answer within {self.timeout:g} s") from None
        except library.TransportError:
            raise find_foreign_daemon(self.home) or self._not_running() from None

    def _request(
        self, http: httpx.Client, library: ModuleType, method: str, path: str, **options: Any
    ) -> dict[str, Any]:
        """Makes one request and returns the daemon's answer."""
        reply = self._send(http, library, method, path, **options)
        if reply.is_error:
            _raise_refusal(reply)
        value = _read_json(reply)
        if not isinstance(value, dict):
            raise ControlError(reply.status_code, f"the daemon's answer is not JSON: {reply.text[:200]!r}")
        return value

    def _not_running(self) -> DaemonNotRunning:
        return DaemonNotRunning(f"no daemon runs on {self.home.root}; start one with `prefd start`")

    def _silent(self, holder: Holder | None) -> DaemonSilent:
        """Makes the error for a home that is held by a process that does not answer for it."""
        if holder is None or abs(time.time() - holder.started_at) < START_SECONDS:  # the clock may have been set back
            return DaemonChanging(f"a daemon is just starting or ending on {self.home.root}: try again in a moment")
        return DaemonSilent(
            f"{self.home.root} is held by a daemon (pid {holder.pid}) that does not answer for this home: "
            f"look at {self.home.log}, and end it with `kill {holder.pid}`"
        )


@dataclass(frozen=True)
class Received:
    """Received is an event, and the id to come back with once it has been dealt with."""

    id: str
    kind: str
    """`open`, or a kind of `prefd.daemon.jobs.event_kinds`."""
    document: Mapping[str, Any]
    """What the daemon wrote, also fields of a newer daemon that `data` has not."""

    @property
    def data(self) -> EventData | None:
        """Says what has happened; None for `open`, and for a kind that only a newer daemon knows. Raises ControlError."""
        return answers.parse_event(self.kind, self.document)


def read_events(reply: httpx.Response) -> Iterator[Received]:
    """Yields the events of a stream that the daemon sends. Neither one that was cut off nor a heartbeat counts."""
    from httpx_sse import EventSource

    for event in EventSource(reply).iter_sse():
        if event.data:
            yield Received(event.id, event.event, json.loads(event.data))
        elif event.retry is not None:  # how the daemon begins: a place to come back to, before anything has happened
            yield Received(event.id, "open", {})


def _listens(path: str) -> bool:
    """Returns whether anybody listens on the socket at that path."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
    except OSError:
        return False
    return True


def _raise_refusal(reply: httpx.Response) -> NoReturn:
    """Raises the error that the daemon answered with."""
    value = _read_json(reply)
    message = value.get("error") if isinstance(value, dict) else None
    raise ControlError(reply.status_code, str(message or f"HTTP {reply.status_code}: {reply.text[:200]}"))


def _read_json(reply: httpx.Response) -> Any:
    try:
        return reply.json()
    except ValueError:
        return None
