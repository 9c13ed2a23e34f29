"""Keys says who may ask: a client that has the home's key, or a token that was made with it.

The key begins with `tml-`, as clients of the protocol ask; the same key with `sk-` in place of that is taken too, for clients
that ask for that, and so is a token that `/auth/token` gives for either.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

from prefd.daemon.home.serve_key import PREFIX

OTHER_PREFIX = "sk-"
TOKEN_SECONDS = 3600
HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")


class Keys:
    """Keys knows the home's key, and makes and checks tokens with it."""

    def __init__(self, key: str) -> None:
        self._secret = key.removeprefix(PREFIX).encode()

    def accepts(self, key: str) -> bool:
        """Return whether this key, or token, is one. It takes as long for a wrong one as for the right one."""
        data = key.encode("utf-8", "surrogateescape")
        own = [prefix.encode() + self._secret for prefix in (PREFIX, OTHER_PREFIX)]
        matches = sum(hmac.compare_digest(data, each) for each in own)  # each is compared, whichever it is
        return bool(matches) or self._accepts_token(data)

    def make_token(self, now: float | None = None) -> str:
        """Make a token, which counts for an hour, also after a restart."""
        issued = int(time.time() if now is None else now)
        claims = {"iat": issued, "exp": issued + TOKEN_SECONDS, "iss": "prefd"}
        payload = HEADER + b"." + base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
        return (payload + b"." + self._sign(payload)).decode()

    def _accepts_token(self, token: bytes) -> bool:
        payload, _, signature = token.rpartition(b".")
        if not hmac.compare_digest(signature, self._sign(payload)):
            return False
        body = payload.partition(b".")[2]
        claims = json.loads(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)))
        return bool(claims["exp"] > time.time())

    def _sign(self, payload: bytes) -> bytes:
        return base64.urlsafe_b64encode(hmac.new(self._secret, payload, hashlib.sha256).digest()).rstrip(b"=")


def needs_exchange(key: str) -> bool:
    """Return whether a client with this key only goes on with a token in its place."""
    return key.startswith(OTHER_PREFIX)
