"""Publishes a folder whole or not at all, and says what the disk refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefd.cache.segments.durable import flush
from prefd.daemon.worker.errors import JobError


@contextmanager
def writing(what: str, folder: Path, more: str = "") -> Iterator[None]:
    """`JobError` for what the disk refuses inside the block; MLX has its own error for a file that cannot be written."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise JobError(f"{what} cannot be written in {folder}: {error}; is the disk full?{more}") from error


class Published:
    """A folder that appears whole or not at all: `with Published(path) as made:` fills `made`, then renames it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = folder.with_name(f".{folder.name}.partial")
        self.old = folder.with_name(f".{folder.name}.old")

    def __enter__(self) -> Path:
        shutil.rmtree(self.made, ignore_errors=True)
        self.made.mkdir(parents=True)
        return self.made

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self.made, ignore_errors=True)
            return
        for path in self.made.iterdir():
            flush(path)
        flush(self.made)
        shutil.rmtree(self.old, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(self.old)
        self.made.rename(self.folder)
        flush(self.folder.parent)
        shutil.rmtree(self.old, ignore_errors=True)
