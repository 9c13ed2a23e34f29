"""Takes files and folders of a store out of sight in one rename, deletes them or puts them back, and measures them."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


def discard(path: Path, staging: Path) -> None:
    """Deletes a folder or file of the store. It leaves its place in one rename, so that no reader finds half of it."""
    aside = set_aside(path, staging)
    if aside is not None:
        aside.delete()


@dataclass(frozen=True)
class Aside:
    """Aside is a folder or file that has left its place and can still be put back."""

    path: Path
    staged: Path
    mtime_ns: int
    """Its mtime before: of a segment's folder, when the segment was last used."""

    def delete(self) -> None:
        """Deletes it for good."""
        if self.staged.is_dir() and not self.staged.is_symlink():
            shutil.rmtree(self.staged, ignore_errors=True)
        else:
            self.staged.unlink(missing_ok=True)

    def put_back(self) -> bool:
        """Puts it back, and says whether it could: not where its place is taken, or the staging folder was swept."""
        try:
            os.utime(self.staged, ns=(self.mtime_ns, self.mtime_ns))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.staged.rename(self.path)
        except OSError:
            return False
        return True


def set_aside(path: Path, staging: Path) -> Aside | None:
    """Takes `path` out of the readers' sight in one rename; None where it is gone already."""
    staging.mkdir(exist_ok=True)
    staged = staging / f"{path.name}.{uuid.uuid4().hex[:8]}.deleted"
    try:
        mtime_ns = path.lstat().st_mtime_ns
        path.rename(staged)
        os.utime(staged, follow_symlinks=False)  # a sweep takes it to be as young as it lies there
    except FileNotFoundError:
        return None
    return Aside(path, staged, mtime_ns)


def size_of(path: Path) -> int:
    """Measures the bytes of a file, or of all files under a folder; one that vanishes meanwhile counts nothing."""
    total = 0
    for each in [path] if path.is_file() else files_under(path):
        try:
            total += each.stat().st_size
        except OSError:
            continue
    return total


def files_under(folder: Path) -> Iterator[Path]:
    """Walks over every file under `folder`, unlike `rglob` without an error when another process deletes a folder."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in names)


def age_of(path: Path, now: float | None = None) -> float:
    """Measures the seconds since `path` was last changed or used; 0 where it is gone, or a clock was set back."""
    try:
        return max(0.0, (time.time() if now is None else now) - path.stat().st_mtime)
    except OSError:
        return 0.0
