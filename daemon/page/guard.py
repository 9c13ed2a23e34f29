"""The guard decides who is answered: HostGuard on every path, before routing, and ApiGuard on all that tells or changes anything.

The application behind ApiGuard is reached through it alone, so no path can miss it. What each check is for: a foreign Host is
a name that another site has pointed at this machine (DNS rebinding); the token keeps out other users of the machine and other
programs' pages; a cross-site request is one that another site has the browser make in the user's name.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prefd.daemon.control.api.endpoint import respond_refusal
from prefd.daemon.control.api.posted_spec import SUFFIXES
from prefd.daemon.page.headers import ALWAYS, DEFAULTS

SAME_SITE = {"same-origin", "none"}
"""What a browser says of a request that this very page makes, or that a user types."""


class HostGuard:
    """HostGuard answers only where it is asked by a Host that is on the list, and adds the security headers to every answer."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self.app = app
        self.hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it with 421."""
        if scope["type"] != "http":
            raise RuntimeError(f"the page speaks HTTP, not {scope['type']}")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", []))
                names = {name.lower() for name, _ in headers}
                message["headers"] = [*headers, *ALWAYS, *(each for each in DEFAULTS if each[0] not in names)]
            await send(message)

        refusal = self.refuse(Headers(scope=scope))
        await (self.app if refusal is None else refusal)(scope, receive, send_with_headers)

    def refuse(self, headers: Headers) -> ASGIApp | None:
        """Returns the refusal of a request for another Host than those of the list, or for none, or for two."""
        hosts = headers.getlist("host")
        if len(hosts) == 1 and hosts[0].lower() in self.hosts:
            return None
        names = " and ".join(each[:100] for each in hosts) or "no host"
        return respond_refusal(
            421,
            f"this is prefd's page, and it does not answer as {names!r}: open it as {' or '.join(sorted(self.hosts)[:3])}, "
            "or start it with `prefd web --allowed-host` and that name",
        )


class ApiGuard:
    """ApiGuard lets through what has the token, comes from this page or from no page, and brings no more than it may."""

    def __init__(self, app: ASGIApp, token: str, max_body: int) -> None:
        self.app = app
        self.authorization = f"Bearer {token}".encode()
        self.max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it."""
        refusal = self.refuse(Headers(scope=scope))
        await (self.app if refusal is None else refusal)(scope, receive, send)

    def refuse(self, headers: Headers) -> ASGIApp | None:
        """Returns the refusal of a request that may not pass; None for one that may."""
        return self._refuse_stranger(headers) or self._refuse_other_site(headers) or self._refuse_body(headers)

    def _refuse_stranger(self, headers: Headers) -> ASGIApp | None:
        headers_sent = headers.getlist("authorization")
        if len(headers_sent) == 1 and hmac.compare_digest(headers_sent[0].encode("latin-1"), self.authorization):
            return None
        return respond_refusal(
            401, "the page is locked: `prefd web --show-url` prints the address that opens it, with its token"
        )

    @staticmethod
    def _refuse_other_site(headers: Headers) -> ASGIApp | None:
        sites = headers.getlist("sec-fetch-site")
        if any(site not in SAME_SITE for site in sites):
            return respond_refusal(403, f"another page asks this of prefd (Sec-Fetch-Site: {sites[0][:100]})")
        host = headers["host"].lower()
        for origin in headers.getlist("origin"):
            if origin.lower() not in (f"http://{host}", f"https://{host}"):
                return respond_refusal(403, f"another page asks this of prefd (Origin: {origin[:100]})")
        return None

    def _refuse_body(self, headers: Headers) -> ASGIApp | None:
        length = headers.get("content-length", "0")
        if length == "0" and "transfer-encoding" not in headers:
            return None
        media = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media not in SUFFIXES:
            return respond_refusal(415, f"what is posted is {', '.join(SUFFIXES)}, not {media[:100]!r}")
        if not length.isdecimal() or int(length) > self.max_body:
            return respond_refusal(413, f"what is posted has at most {self.max_body // 1024} KiB")
        return None
