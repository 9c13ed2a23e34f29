"""Leftovers are the files of removed jobs and of removed parts of jobs: `finish_removals` deletes them, at once or after a crash.

The order is what makes it safe. A job's accepted spec goes first, and its folder gets a name in `runs/` that is no job's
before anything in it is deleted: should the database be lost in the midst of this and be rebuilt from `runs/`, each job is
either whole there or not there at all.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from prefd.cache.segments.durable import flush
from prefd.daemon.home.layout import Home
from prefd.daemon.inbox.claimed_file import CLAIMED
from prefd.daemon.jobs.removals import JobRemovals, Leftover

log = logging.getLogger(__name__)

REMOVED = ".removed-"
"""How the name of a folder in `runs/` begins that is to be deleted."""


def finish_removals(home: Home, table: JobRemovals) -> list[str]:
    """Delete what removed jobs have left, now and in earlier lives of the daemon, and return what could not be deleted."""
    return [*hide_removals(home, table), *delete_set_aside(home)]


def hide_removals(home: Home, table: JobRemovals) -> list[str]:
    """Take what removed jobs have left out of sight, which is quick, and return what could not be."""
    done, problems = set_leftovers_aside(home, table.leftovers())
    table.forget_leftovers(done)
    return problems


def set_leftovers_aside(home: Home, leftovers: Sequence[Leftover]) -> tuple[list[int], list[str]]:
    """Take the files of removed jobs out of sight: a rename and the claimed file of each. It touches no database.

    Returns the jobs of which nothing is left but what `delete_set_aside` deletes, and a line for each that is still there.
    """
    done: list[int] = []
    problems: list[str] = []
    for job_id, source in leftovers:
        folder = home.job(job_id)
        try:
            _delete_claimed_file(home, source)
            set_aside(home, folder, str(job_id))
            done.append(job_id)
        except OSError as error:
            problems.append(f"job {job_id} is removed, and {error.filename or folder} stays: {error.strerror}")
    if done:
        with suppress(OSError):
            flush(home.runs)
    return done, _warn(problems)


def delete_set_aside(home: Home) -> list[str]:
    """Delete everything in `runs/` that is to be deleted, and return a line for each thing that cannot be."""
    problems: list[str] = []
    for path in list_set_aside(home):
        try:
            _delete_tree(path)
        except OSError as error:
            problems.append(f"{error.filename or path} cannot be deleted: {error.strerror}")
    return _warn(problems)


def _warn(problems: list[str]) -> list[str]:
    for problem in problems:
        log.warning("%s; it is tried again at the next start", problem)
    return problems


def set_aside(home: Home, path: Path, name: str) -> bool:
    """Rename a folder to one that is to be deleted, whole at once; False where it is not there. Raises OSError."""
    for number in range(1, 10_000):
        target = home.runs / (f"{REMOVED}{name}" if number == 1 else f"{REMOVED}{name}-{number}")
        if not os.path.lexists(target):
            try:
                path.rename(target)
            except FileNotFoundError:
                return False
            return True
    raise FileExistsError(17, f"is full of folders called {REMOVED}{name}-*", str(home.runs))


def list_set_aside(home: Home) -> list[Path]:
    """Return the folders that are to be deleted."""
    try:
        with os.scandir(home.runs) as entries:
            return [Path(entry.path) for entry in entries if entry.name.startswith(REMOVED)]
    except FileNotFoundError:
        return []


def _delete_claimed_file(home: Home, source: str) -> None:
    """Delete a file of `jobs/accepted/`; a source of another kind is a path of the user's, and stays."""
    if CLAIMED.fullmatch(source) and Path(source).name == source:
        (home.accepted / source).unlink(missing_ok=True)


def _delete_tree(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)
