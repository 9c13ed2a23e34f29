"""The endpoint that starts the daemon, so that a page that finds it down need not send its reader to a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api.endpoint import Endpoint, respond
from prefd.daemon.control.api.responses import Answer
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.page.command_child import make_refusal, run_command


class Started(Answer):
    """The daemon runs, and answers."""

    pid: int


def list_endpoints(home: Home) -> Sequence[Endpoint]:
    """Lists the endpoint that starts the daemon."""

    async def start(request: Request) -> Response:
        return respond({"pid": await run_in_thread(start_daemon, home)}, 202)

    return [
        Endpoint(
            "POST",
            "/v1/start",
            "Start the daemon in the background, as `prefd start --detach` does",
            start,
            Started,
            status=202,
            errors={409: "it runs already, or cannot be started: `lines` says why"},
        )
    ]


def start_daemon(home: Home) -> int:
    """Starts a daemon, and returns its pid once it answers. Raises Refusal with what `prefd start` says otherwise.

    A process between the two makes the daemon nobody's child: it outlives the page, and leaves it nothing to wait for.
    """
    arguments = ("start", "--detach")
    done = run_command(home, *arguments)
    if done.returncode or not done.stdout.strip().isdecimal():
        raise make_refusal(409, done, arguments)
    return int(done.stdout)
