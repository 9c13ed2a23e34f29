"""Every way in which a spec gets into a watched folder: each writes one file whose last content is the spec's."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.inbox.submit import submit

SETTLE_SECONDS = 0.2
PAUSE_SECONDS = 1.5 * SETTLE_SECONDS
"""A writer's rest in the middle of a file. Whoever goes by the settle time alone reads half of it."""

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Drop:
    """A spec, the file that it is written to, and how."""

    file: str
    document: Document
    way: str
    good: bool = True
    jobs: int = 1
    """How many it makes: those of a sweep."""

    @property
    def content(self) -> bytes:
        """A line for each key: cut after most of them, it is still a spec, of another job."""
        lines = (f"{key}: {json.dumps(value)}\n" for key, value in self.document.items())
        return "".join(lines).encode()

    def write(self, home: Home) -> None:
        WAYS[self.way](home, self)


def slow_writer(home: Home, drop: Drop) -> None:
    """A few bytes, a rest, the next few; the file is open all the while."""
    with (home.jobs / drop.file).open("xb", buffering=0) as file:
        _write_slowly(file.write, drop.content, rests=2)


def rename_in(home: Home, drop: Drop) -> None:
    os.rename(_beside(home, drop), home.jobs / drop.file)


def editor_save(home: Home, drop: Drop) -> None:
    """As vim saves over an older version: a swap file, the old one moved to a backup, the new one written in its place."""
    target = home.jobs / drop.file
    swap, backup = target.with_name(f".{drop.file}.swp"), target.with_name(f"{drop.file}~")
    swap.write_bytes(b"b0VIM 9.0")
    with target.open("xb", buffering=0) as old:
        old.write(b"model: an/older-version\n")
        target.rename(backup)
        with target.open("xb", buffering=0) as file:
            _write_slowly(file.write, drop.content, rests=1)
            os.fsync(file.fileno())
    backup.unlink()
    swap.unlink()


def truncate_in_place(home: Home, drop: Drop) -> None:
    """An older version, cut to nothing and written again under the same inode by one who has it open."""
    with (home.jobs / drop.file).open("xb", buffering=0) as old:
        old.write(b"model: an/older-version\ndata: {path: older.jsonl}\n" * 20)
        with (home.jobs / drop.file).open("r+b", buffering=0) as file:
            file.truncate(0)
            _write_slowly(file.write, drop.content, rests=1)


def hard_link(home: Home, drop: Drop) -> None:
    """A second name of a file elsewhere, which keeps its first."""
    os.link(_beside(home, drop), home.jobs / drop.file)


def submit_command(home: Home, drop: Drop) -> None:
    submit(home, drop.document, drop.file)


def plain_write(home: Home, drop: Drop) -> None:
    (home.jobs / drop.file).write_bytes(drop.content)


WAYS: dict[str, Callable[[Home, Drop], None]] = {
    "slow writer": slow_writer,
    "rename-in": rename_in,
    "editor save": editor_save,
    "truncate-in-place": truncate_in_place,
    "hard link": hard_link,
    "prefd submit": submit_command,
    "burst": plain_write,
}
ONE_BY_ONE = tuple(way for way in WAYS if way != "burst")


def _beside(home: Home, drop: Drop) -> Path:
    folder = home.root / "beside"
    folder.mkdir(exist_ok=True)
    path = folder / drop.file
    path.write_bytes(drop.content)
    return path


def _write_slowly(write: Callable[[bytes], object], content: bytes, rests: int) -> None:
    size = -(-len(content) // (rests + 1))
    for offset in range(0, len(content), size):
        if offset:
            time.sleep(PAUSE_SECONDS)
        write(content[offset : offset + size])
