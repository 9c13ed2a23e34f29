"""Guard answers those alone who ask by an own name of this machine, have the key, and bring no more than they may.

A foreign Host is a name that another site has pointed at this machine; the key keeps out other users and other programs' pages.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from prefd.daemon.live.keys import Keys
from prefd.daemon.live.refusal import respond_refused

MAX_BODY = 32 * 2**20
"""Bytes of a body as it is sent; clients cut their requests at 5 MB."""
OTHER_TOKEN = 'Bearer error="invalid_token"'
"""Has a client whose token is over, as after a night's sleep of the machine, ask for another and come again."""


class Guard:
    """Guard stands before the application, so no path can miss it."""

    def __init__(self, app: ASGIApp, keys: Keys, hosts: Collection[str]) -> None:
        self.app = app
        self.keys = keys
        self.hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it."""
        if scope["type"] != "http":
            raise RuntimeError(f"`prefd serve` speaks HTTP, not {scope['type']}")
        refusal = self.refuse(Headers(scope=scope))
        await (self.app if refusal is None else refusal)(scope, receive, send)

    def refuse(self, headers: Headers) -> ASGIApp | None:
        """Returns the refusal of a request that may not pass; None for one that may."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            names = " and ".join(each[:100] for each in hosts) or "no host"
            return respond_refused(
                421, f"`prefd serve` does not answer as {names!r}: ask {' or '.join(sorted(self.hosts))}"
            )
        keys = headers.getlist("x-api-key")
        if len(keys) != 1 or not self.keys.accepts(keys[0]):
            why = "the key is wrong: `prefd serve --show-key` prints the right one"
            return respond_refused(401, why, {"WWW-Authenticate": OTHER_TOKEN})
        if (origin := headers.get("origin")) is not None:
            return respond_refused(403, f"a web page asks this of prefd (Origin: {origin[:100]})")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return respond_refused(413, f"a body has at most {MAX_BODY // 2**20} MiB: send fewer datums at once")
        return None
