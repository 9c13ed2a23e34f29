"""Publishes a folder whole or not at all, and says what the disk refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefd.cache.segments.durable import flush, flush_for_good
from prefd.daemon.worker.device_trouble import raise_if_device_failed
from prefd.daemon.worker.errors import JobError


@contextmanager
def report_write_errors(subject: str, folder: Path, remedy: str = "") -> Iterator[None]:
    """Raise `JobError` for what the disk refuses inside the block; MLX has its own error for a file that it cannot write.

    `subject`: what is written, for the message; `remedy`: what the message adds.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise_if_device_failed(error)  # what is written was computed only now
        raise JobError(f"{subject} cannot be written in {folder}: {error}; is the disk full?{remedy}") from error


class Published:
    """Published is a folder that appears whole or not at all: `with Published(path) as partial:` fills and then renames it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.partial = folder.with_name(f".{folder.name}.partial")
        self.previous = folder.with_name(f".{folder.name}.old")

    def __enter__(self) -> Path:
        shutil.rmtree(self.partial, ignore_errors=True)
        self.folder.parent.mkdir(exist_ok=True)  # and no more: a job's folder that is gone is not made again elsewhere
        self.partial.mkdir()
        return self.partial

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self.partial, ignore_errors=True)
            return
        for path in self.partial.iterdir():
            flush(path)
        flush(self.partial)
        shutil.rmtree(self.previous, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(self.previous)
        self.partial.rename(self.folder)
        flush_for_good(self.folder.parent)  # what is published is acknowledged
        shutil.rmtree(self.previous, ignore_errors=True)
