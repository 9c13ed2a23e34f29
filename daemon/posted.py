"""A spec that came through the control API, put where a dropped one lies once it is claimed."""

from __future__ import annotations

from ulid import ULID

from prefd.cache.durable import whole_file
from prefd.daemon.files import short, sync_folder
from prefd.daemon.home import Home
from prefd.daemon.inbox import Claimed
from prefd.daemon.watched import WatchedFolder


def keep_posted(home: Home, data: bytes, name: str) -> Claimed:
    """`data` in `jobs/accepted/`, whole and on disk, as if it had been dropped under `name` and claimed.

    Raises FolderUnusable where `jobs/` is on a mount that is not there, and OSError.

    A crash before its row leaves what a crash after any claim leaves: the next daemon makes it a job.
    """
    WatchedFolder(home).require_mount()
    ulid = ULID()
    beside = home.accepted / f".{ulid}.tmp"
    claimed = Claimed(home.accepted / f"{ulid}-{short(name)}", name)
    with whole_file(claimed.path, beside) as file:
        file.write(data)
    sync_folder(home.accepted)
    return claimed
