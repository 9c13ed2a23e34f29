"""Leftovers are the files of removed jobs and of removed parts of jobs: `delete_leftovers` deletes them, at once or after a crash.

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

from prefd.daemon.home.layout import Home
from prefd.daemon.inbox.claims import CLAIMED
from prefd.daemon.jobs.removals import Leftover, Removals
from prefd.daemon.machine.files import sync_folder

log = logging.getLogger(__name__)

REMOVED = ".removed-"
"""How the name of a folder in `runs/` begins that is to be deleted."""


def finish_removals(home: Home, table: Removals) -> list[str]:
    """Delete what removed jobs have left, now and in earlier lives of the daemon, and return what could not be deleted."""
    leftovers = table.leftovers()
    deleted, problems = delete_leftovers(home, leftovers)
    table.forget_leftovers(deleted)
    return problems


def delete_leftovers(home: Home, leftovers: Sequence[Leftover]) -> tuple[list[int], list[str]]:
    """Delete the files of removed jobs, and whatever else is to be deleted in `runs/`.

    Returns the jobs of which nothing is left, and a line for each thing that could not be deleted. It touches no database.
    """
    deleted: list[int] = []
    problems: list[str] = []
    for job_id, source in leftovers:
        try:
            _delete_claimed_file(home, source)
            set_aside(home, home.job(job_id), str(job_id))
            deleted.append(job_id)
        except OSError as error:
            problems.append(
                f"job {job_id} is removed, and {error.filename or home.job(job_id)} stays: {error.strerror}"
            )
    if deleted:
        with suppress(OSError):
            sync_folder(home.runs)
    for path in list_set_aside(home):
        try:
            _delete_tree(path)
        except OSError as error:
            problems.append(f"{error.filename or path} cannot be deleted: {error.strerror}")
    for problem in problems:
        log.warning("%s; it is tried again at the next start", problem)
    return deleted, problems


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
