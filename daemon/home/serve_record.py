"""ServeRecord is what `prefd serve` leaves in `run/serve.json`: where it is served. It counts only while the lock beside it is held."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass

from prefd.daemon.errors import PrefdError
from prefd.daemon.home.exclusive import hold_exclusively
from prefd.daemon.home.layout import Home
from prefd.daemon.home.lock import is_locked
from prefd.daemon.home.page_record import join_address
from prefd.daemon.machine.files import read_json, write_json


class ServedAlready(PrefdError):
    """Another process serves this home's clients; the message says which, and where."""


@dataclass(frozen=True)
class ServeRecord:
    """ServeRecord says where clients are, or were last, served."""

    host: str
    port: int
    pid: int
    started_at: float
    """Unix time."""

    @property
    def address(self) -> str:
        """Returns what clients are given as their base URL."""
        return f"http://{join_address(self.host, self.port)}"


def find_server(home: Home) -> ServeRecord | None:
    """Return where the home's clients are served now; None where no process serves them."""
    value = read_json(home.serve_record) if is_locked(home.serve_lock) else None
    try:
        return ServeRecord(**value) if isinstance(value, dict) else None
    except TypeError:
        return None


def write_serve_record(home: Home, host: str, port: int) -> ServeRecord:
    """Write down where this process serves clients, and return that."""
    record = ServeRecord(host, port, os.getpid(), time.time())
    write_json(home.serve_record, asdict(record), flush=False)
    return record


def hold_serving(home: Home) -> AbstractContextManager[None]:
    """Be the only process that serves the home's clients inside the block. Raises ServedAlready."""

    def refuse() -> ServedAlready:
        other = read_json(home.serve_record)
        place = f" by pid {other.get('pid')}" if isinstance(other, dict) else ""
        return ServedAlready(f"the clients of {home.root} are served already{place}")

    return hold_exclusively(home.serve_lock, refuse)
