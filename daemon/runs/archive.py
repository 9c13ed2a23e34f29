"""`write_archive` copies what is worth keeping of a job into one folder that can be read without prefd, and without the home.

The folder is made beside its place under a name of its own, and renamed when it is whole on disk. Who makes it holds a lock on
it, so that what a crash has left can be told from what is being made, and is deleted by the next one to archive there.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefd.cache.segments.durable import flush, flush_tree
from prefd.daemon.runs.run_folder import RunDir

PARTIAL = ".partial"
REPORT, DETAILS, FROZEN, SPEC = "report.txt", "job.json", "frozen.json", "spec.json"


def write_archive(
    run: RunDir,
    target: Path,
    *,
    spec: Mapping[str, Any] | None,
    details: Mapping[str, Any],
    report: str,
    folders: Sequence[str],
    check: Callable[[], None],
) -> None:
    """Make the folder `target` of a job's folder. `folders`: which of its folders are copied, where they are there.

    `spec`: the spec as it can be handed in again; None where it cannot be read. `details`: what `prefd show --json` prints.
    `check`: called when all is copied; raises where the job is not any more what it was. Raises OSError, also where `target`
    exists.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    delete_partial_archives(target.parent)
    partial = target.parent / f".{target.name}{PARTIAL}"
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "is there already", str(target))
    partial.mkdir()
    with _Lock(partial):
        try:
            for name in folders:
                if (run.root / name).is_dir():
                    shutil.copytree(run.root / name, partial / name)
            files = [(path, path.name) for path in (run.metrics, run.samples.path, run.log)]
            for path, name in [*files, (run.spec, FROZEN)]:
                with suppress(FileNotFoundError):
                    shutil.copy2(path, partial / name)
            if spec is not None:
                _write_json(partial / SPEC, spec)
            _write_json(partial / DETAILS, details)
            (partial / REPORT).write_text(report, encoding="utf-8")
            check()
            flush_tree(partial)
            os.rename(partial, target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    flush(target.parent)


def delete_partial_archives(folder: Path) -> None:
    """Delete the archives in `folder` that a crash has left half made; what another process makes now stays."""
    for path in sorted(folder.glob(f".*{PARTIAL}")):
        with suppress(OSError), _Lock(path):
            shutil.rmtree(path)


class _Lock:
    """The lock on a folder that is being made. Entering it raises BlockingIOError where another process holds it."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
