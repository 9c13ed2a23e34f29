"""The key of `prefd serve`, in `serve.key`: made with the home, or when it is first asked for, and readable by its user alone."""

from __future__ import annotations

import os
import secrets
import stat

from prefd.daemon.errors import PrefdError
from prefd.daemon.home.layout import Home

PREFIX = "tml-"
"""How a key begins: clients of the protocol take no other."""
KEY_BYTES = 32
MIN_LENGTH = 32


class BadServeKey(PrefdError):
    """serve.key is no key, or others can read it. The message says how to get a new one."""


def keep_key(home: Home) -> str:
    """Return the home's key, which is made where there is none. Raises BadServeKey, OSError."""
    try:
        descriptor = os.open(home.serve_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return _read_key(home)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{PREFIX}{secrets.token_urlsafe(KEY_BYTES)}\n")
    return _read_key(home)


def _read_key(home: Home) -> str:
    info = home.serve_key.stat()
    if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o077:
        raise BadServeKey(
            f"{home.serve_key} can be read by others: remove it, and `prefd serve --show-key` makes a new key"
        )
    key = home.serve_key.read_text(encoding="ascii", errors="replace").strip()
    if not key.startswith(PREFIX) or len(key) < MIN_LENGTH or not key.isprintable():
        raise BadServeKey(f"{home.serve_key} holds no key: remove it, and `prefd serve --show-key` makes one")
    return key
