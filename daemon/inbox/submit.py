"""The functions here put a spec into `jobs/`, as if it were dropped, or into `jobs/accepted/`, as if it were claimed."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from ulid import ULID

from prefd.cache.segments.durable import flush, flush_file, whole_file
from prefd.daemon.home.layout import Home
from prefd.daemon.inbox.availability import WatchedFolder
from prefd.daemon.inbox.claim_marks import make_mark
from prefd.daemon.inbox.claimed_file import Claimed
from prefd.daemon.inbox.non_specs import choose_spec_name
from prefd.daemon.machine.files import rename_new, shorten_name


def keep_posted(home: Home, data: bytes, name: str) -> Claimed:
    """Write a spec file's bytes into `jobs/accepted/`, whole and on disk, as if `name` had been dropped and claimed.

    A crash before its row leaves what a crash after any claim leaves: the next daemon makes it a job. Raises
    FolderUnusable where `jobs/` is on a mount that is not there, and OSError.
    """
    WatchedFolder(home).require_mount()
    ulid = ULID()
    beside = home.accepted / f".{ulid}.tmp"
    claimed = Claimed(home.accepted / f"{ulid}-{shorten_name(name)}", name)
    make_mark(claimed.path)
    with whole_file(claimed.path, beside) as file:
        file.write(data)
    flush(home.accepted)
    return claimed


def submit(home: Home, document: Mapping[str, Any], name: str) -> Path:
    """Put a spec (paths absolute) into `jobs/` as JSON, whole at once, under a name not in use; return its path.

    Works with no daemon running. `name` is the spec file's; the file is `<its stem>.json`, or `-2`, `-3`;
    a stem that the folder would take for a conflict copy is spelt with dashes.
    Raises FolderUnusable where `jobs/` is not mounted, and OSError.
    """
    WatchedFolder(home).require_mount()
    home.jobs.mkdir(parents=True, exist_ok=True)
    beside = home.jobs / f".{ULID()}.tmp"
    with beside.open("x", encoding="utf-8") as file:
        json.dump(document, file, indent=1, ensure_ascii=False)
        flush_file(file)
    stem = PurePath(choose_spec_name(shorten_name(PurePath(name).stem.lstrip(".") or "job"))).stem
    try:
        for number in range(1, 10_000):
            target = home.jobs / (f"{stem}.json" if number == 1 else f"{stem}-{number}.json")
            if rename_new(beside, target):
                flush(home.jobs)
                return target
        raise FileExistsError(errno.EEXIST, f"{home.jobs} is full of files called {stem}-*.json")
    finally:
        beside.unlink(missing_ok=True)
