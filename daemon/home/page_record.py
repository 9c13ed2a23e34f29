"""PageRecord is what `prefd web` leaves in `run/web.json`: the token that opens the page, and where it is served.

The token outlives the process, so that a page which is open goes on after a restart. The rest counts only while the page's
lock is held, which the kernel releases when its holder dies.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass

from prefd.daemon.errors import PrefdError
from prefd.daemon.home.exclusive import hold_exclusively
from prefd.daemon.home.layout import Home
from prefd.daemon.home.lock import is_locked
from prefd.daemon.machine.files import read_json, write_json

TOKEN_BYTES = 32
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""What listens on every address of the machine is reached from itself on these."""


class PageServedAlready(PrefdError):
    """Another process serves this home's page; the message says which, and where."""


@dataclass(frozen=True)
class PageRecord:
    """PageRecord is the token of a home's page, and where the page is, or was last, served."""

    token: str
    host: str
    """The address that it is bound to."""
    port: int
    pid: int
    started_at: float
    """Unix time."""

    @property
    def address(self) -> str:
        """Returns where a browser on this machine finds the page, which asks for the token."""
        return f"http://{join_address(EVERY_ADDRESS.get(self.host, self.host), self.port)}/"

    @property
    def url(self) -> str:
        """Returns the address that opens the page: what follows the # is never sent, logged or handed on by a browser."""
        return f"{self.address}#token={self.token}"


def join_address(host: str, port: int) -> str:
    """Return `host:port`, with the brackets of an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_page_record(home: Home) -> PageRecord | None:
    """Return what the last `prefd web` wrote, which may be gone; None where there is none."""
    value = read_json(home.page_record)
    try:
        return PageRecord(**value) if isinstance(value, dict) else None
    except TypeError:
        return None


def find_page(home: Home) -> PageRecord | None:
    """Return where the home's page is served now; None where no process serves it."""
    return read_page_record(home) if is_locked(home.page_lock) else None


def hold_page(home: Home) -> AbstractContextManager[None]:
    """Be the only process that serves the home's page inside the block. Raises PageServedAlready."""

    def refuse() -> PageServedAlready:
        other = read_page_record(home)
        place = "" if other is None else f" by pid {other.pid} at {other.address}"
        return PageServedAlready(
            f"the page of {home.root} is served already{place}: `prefd web --show-url` prints its address"
        )

    return hold_exclusively(home.page_lock, refuse)


def write_page_record(home: Home, host: str, port: int) -> PageRecord:
    """Write down where this process serves the page, with the token that it had before, and return it."""
    record = PageRecord(_keep_token(home) or secrets.token_urlsafe(TOKEN_BYTES), host, port, os.getpid(), time.time())
    write_json(home.page_record, asdict(record), flush=False, private=True)
    return record


def forget_token(home: Home) -> None:
    """Have the next page get a new token: what has the old one is locked out."""
    home.page_record.unlink(missing_ok=True)


def _keep_token(home: Home) -> str | None:
    """Return the token of an earlier page; None where there is none, or others may have read it."""
    record = read_page_record(home)
    if record is None or len(record.token) < TOKEN_BYTES:
        return None
    info = home.page_record.stat()
    return record.token if info.st_uid == os.geteuid() and not stat.S_IMODE(info.st_mode) & 0o077 else None
