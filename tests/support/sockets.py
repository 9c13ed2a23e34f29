"""Where a daemon listens, and folders in which a socket may lie: temporary folders may be deeper than a socket's path may be."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefd.daemon.home.layout import Home
from prefd.daemon.home.lock import read_announcement


def find_socket(home: Home) -> str:
    """The path at which the home's daemon has said that it listens; the home's own where it has said nothing."""
    announcement = read_announcement(home)
    return str(home.socket) if announcement is None else announcement.socket


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder of which a socket's path leaves enough."""
    with tempfile.TemporaryDirectory(prefix="pf-", dir="/tmp") as folder:
        yield Path(folder).resolve()


def find_free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens now."""
    with socket.create_server(("127.0.0.1", 0)) as each:
        return int(each.getsockname()[1])
