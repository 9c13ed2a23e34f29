"""The commands' side of the control socket."""

from __future__ import annotations

import socket
import time
from typing import Any

from prefd.daemon.home import Home
from prefd.daemon.lock import announced, is_held


class DaemonNotRunning(Exception):
    """No daemon answers on this home; the message says how to start one."""


class ControlError(Exception):
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

    def status(self) -> dict[str, Any]:
        """{"pid", "version", "started_at", "uptime_s", "home", "socket", "stopping": bool,
        "active": [Job.to_json() | {"progress": null | Progress as a dict}], "jobs": {state: count},
        "queue": {"paused_at": null | float},
        "watcher": WatchHealth as a dict, "catalog": {"error": str|null, "losses": int}, "memory_rss_bytes": int}
        """
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
        """Ask one of QUEUE_ACTIONS: {"queue": as in `status`, "jobs": [Job.to_json() of those acted on]}."""
        return self._ask("POST", f"/v1/queue/{action}")

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        known = announced(self.home)
        listening = known.socket if known else str(self.home.socket)
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(listening)
        except OSError:
            raise self._not_running() from None
        import httpx  # here: it takes longer to import than the daemon takes to answer

        transport = httpx.HTTPTransport(uds=listening)
        try:
            with httpx.Client(transport=transport, base_url="http://prefd", timeout=self.timeout) as http:
                reply = http.request(method, path)
        except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError):
            raise self._not_running() from None
        except httpx.TimeoutException:
            raise ControlError(504, f"the daemon did not answer within {self.timeout:g} s") from None
        try:
            value = reply.json()
        except ValueError:
            raise ControlError(reply.status_code, f"the daemon's answer is not JSON: {reply.text[:200]!r}") from None
        if not isinstance(value, dict) or reply.is_error:
            message = value.get("error") if isinstance(value, dict) else None
            raise ControlError(reply.status_code, str(message or f"HTTP {reply.status_code}"))
        return value

    def _not_running(self) -> DaemonNotRunning:
        return DaemonNotRunning(f"no daemon runs on {self.home.root}; start one with `prefd start`")
