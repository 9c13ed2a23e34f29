"""Checks the home itself: whether it can be written, whose it is, who else may write there, and whether its disk has room."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Literal

from prefd.daemon.health.finding import HealthFinding
from prefd.daemon.home.finder_link import find_link, is_hidden
from prefd.daemon.home.identity import read_identity
from prefd.daemon.home.jobs_owner import explain_sharing, find_other_home
from prefd.daemon.home.layout import Home, explain_dangling
from prefd.daemon.home.runs_owner import RunsOwner, describe_sharing
from prefd.daemon.jobs.home_copies import is_unsettled
from prefd.daemon.jobs.table import JobTableError
from prefd.daemon.machine.cloud import is_in_cloud_folder
from prefd.daemon.machine.mounts import find_mount
from prefd.daemon.machine.owners import find_owner, has_rights, is_read_only, name_user, write_sudo
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.wording import pluralize
from prefd.daemon.timing import USUAL, Timing

DISK_FAIL, DISK_WARN = 500e6, 5e9
MOST_ENTRIES = 2_000
"""Entries of each folder whose owner is looked at."""
MOST_NAMES = 3


def check_home(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Checks that the home's folders can be written, and by this user only."""
    if not home.root.is_dir():
        yield HealthFinding("warn", "home", f"{home.root} is not there yet", "prefd init")
        return
    if (refusal := _find_refusal(home)) is not None:
        yield refusal
        return
    findings = [*_check_others(home), *_check_owners(home), *_check_identity(home), *_check_cloud(home)]
    yield from findings or [HealthFinding("ok", "home", f"{home.root} can be written, by you alone")]
    if is_hidden(home):
        link = find_link(home)
        hidden = (
            "Finder hides it: `prefd init` links ~/prefd to it where nothing else is there, and `prefd open` shows it"
        )
        yield HealthFinding("ok", "home", hidden if link is None else f"Finder shows it as {link}")


def _find_refusal(home: Home) -> HealthFinding | None:
    """Finds the first of the home's folders that this user cannot write, and says why."""
    if (other := find_other_home(home)) is not None:
        return HealthFinding("fail", "home", explain_sharing(home, other))
    for folder in (home.root, home.jobs, home.accepted, home.rejected, home.runs, home.cache, home.run):
        if (problem := explain_dangling(folder)) is not None:
            return HealthFinding("fail", "home", problem)
        try:
            with tempfile.TemporaryFile(dir=folder):
                continue
        except OSError as error:
            detail = f"{folder} cannot be written: {error.strerror}"
        if is_read_only(folder):
            remedy = "what is there can be read (prefd jobs, show, …); to run jobs, mount it for writing or name another home with --home"
            return HealthFinding("fail", "home", detail, remedy)
        owner, user = find_owner(folder), os.geteuid()
        if owner is None or owner == user:
            return HealthFinding("fail", "home", detail, "prefd init, or give yourself the right")
        detail += f"; it is {name_user(owner)}'s, and you are {name_user(user)}"
        if owner == 0:
            return HealthFinding("fail", "home", detail, f"sudo chown -R {name_user(user)} {shlex.quote(str(folder))}")
        return HealthFinding("fail", "home", detail, f"{write_sudo(owner)} prefd …, or a home of your own with --home")
    return None


def _check_cloud(home: Home) -> Iterator[HealthFinding]:
    """Finds a home that a cloud keeps, which may take its database and checkpoints off the disk, and change them from elsewhere."""
    if is_in_cloud_folder(home.root):
        detail = f"{home.root} is in a cloud's folder: macOS may take its database and checkpoints off the disk, or put another Mac's there"
        remedy = (
            "keep the home on this Mac alone; a folder in the cloud may be its jobs/ (a link), and hold models and data"
        )
        yield HealthFinding("warn", "home", detail, remedy)


def _check_others(home: Home) -> Iterator[HealthFinding]:
    """Finds what other users may write: a job or a plugin that they put there would run as this user."""
    modes: dict[Path, int] = {}
    for path in (home.root, home.config, home.jobs, home.accepted, home.rejected, home.runs, home.cache):
        with suppress(OSError):
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o022:
                modes[path] = mode
    if not modes:
        return
    if not has_rights(home.root):
        mount = find_mount(home.root)
        detail = f"{home.root} is on a file system that keeps no rights{f' ({mount.kind})' if mount else ''}: anyone who can write to the drive can put jobs and plugins there"
        remedy = "keep the home on this machine's own disk (APFS, ext4); models and data may stay on the drive"
        yield HealthFinding("warn", "home", detail, remedy)
        return
    level: Literal["warn", "fail"] = "fail" if any(mode & 0o002 for mode in modes.values()) else "warn"
    listing = ", ".join(f"{path} (mode {mode:04o})" for path, mode in modes.items())
    detail = f"can be written by others, who can put jobs and plugins there: {listing}"
    yield HealthFinding(level, "home", detail, f"chmod go-w {shlex.join(map(str, modes))}")


def _check_owners(home: Home) -> Iterator[HealthFinding]:
    """Finds what is another user's in the home, such as root's after a `sudo prefd …`."""
    user, owner = os.geteuid(), find_owner(home.root)
    if owner is not None and owner != user:
        remedy = f"{write_sudo(owner)} prefd …: what you make there, {name_user(owner)} cannot change"
        yield HealthFinding(
            "warn", "home", f"{home.root} is {name_user(owner)}'s, and you are {name_user(user)}", remedy
        )
        return
    foreign: list[tuple[Path, int]] = []
    for folder in (home.root, home.jobs, home.accepted, home.runs, home.cache, home.run):
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in islice(entries, MOST_ENTRIES):
                with suppress(OSError):
                    uid = entry.stat(follow_symlinks=False).st_uid
                    if uid != user:
                        foreign.append((Path(entry.path), uid))
    if foreign:
        names = ", ".join(f"{path} ({name_user(uid)})" for path, uid in foreign[:MOST_NAMES])
        detail = f"{pluralize(len(foreign), 'file')} there are not yours, as after `sudo prefd …`: {names}{', …' * (len(foreign) > MOST_NAMES)}"
        yield HealthFinding("warn", "home", detail, f"sudo chown -R {name_user(user)} {shlex.quote(str(home.root))}")


def _check_identity(home: Home) -> Iterator[HealthFinding]:
    """Finds whether the home is a copy of another one, whose jobs may run there too, has lost its id, or shares its runs/."""
    yield from _check_runs_owner(home)
    try:
        if not is_unsettled(home):
            return
    except JobTableError:  # told by check_jobs
        return
    if (identity := read_identity(home.root)) is None:
        detail = f"{home.identity} is not there or cannot be read: whether this home is a copy cannot be told"
    else:
        detail = f"this home came from {identity.place.root} as a copy, and that one may run its jobs too"
    remedy = "what has not ended is paused at the next start, and `prefd resume` lets it go on"
    yield HealthFinding("warn", "home", detail, remedy)


def _check_runs_owner(home: Home) -> Iterator[HealthFinding]:
    """Finds another home whose runs/ this one has too."""
    identity = read_identity(home.root)
    owner = RunsOwner.read(home.runs) if home.runs.is_dir() else None
    if identity is not None and owner is not None and owner.is_rival_of(home, identity):
        yield HealthFinding("fail", "home", describe_sharing(home, owner))


def check_disk(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Checks that the disk has room."""
    folder = next(folder for folder in (home.root, *home.root.parents) if folder.is_dir())
    free = shutil.disk_usage(folder).free
    if is_read_only(folder):
        yield HealthFinding("ok", "disk", f"{folder} is on a file system that is mounted read-only")
        return
    level: Literal["ok", "warn", "fail"] = "fail" if free < DISK_FAIL else "warn" if free < DISK_WARN else "ok"
    remedy = "" if level == "ok" else "make room, or put the home on a larger disk with --home"
    yield HealthFinding(level, "disk", f"{format_size(free)} free", remedy)
