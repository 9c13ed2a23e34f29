"""Says whose a file is, and why this user cannot write it: another user's, root's after a `sudo`, or a file system that is read-only."""

from __future__ import annotations

import errno
import os
import pwd
import shlex
import stat
import tempfile
from pathlib import Path


def name_user(uid: int) -> str:
    """Name a user: `mia`, or `user 4711` where nobody has that number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def write_sudo(uid: int) -> str:
    """Write the words with which a command is run as that user: `sudo -u mia`; `sudo` for root."""
    return "sudo" if uid == 0 else f"sudo -u {shlex.quote(name_user(uid).replace('user ', '#'))}"


def find_owner(path: Path) -> int | None:
    """Return the user who owns `path`, or the nearest folder above it that can be looked at; None where none can."""
    for each in (path, *path.parents):
        try:
            return each.lstat().st_uid
        except OSError:
            continue
    return None


def is_read_only(path: Path) -> bool:
    """Return whether `path`, or the nearest folder above it that is there, is on a file system that takes no writes."""
    for place in (path, *path.parents):
        try:
            return bool(os.statvfs(place).f_flag & os.ST_RDONLY)
        except OSError:
            continue
    return False


def can_write(folder: Path) -> bool:
    """Return whether this process may make files in `folder`."""
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def has_rights(folder: Path) -> bool:
    """Return whether the file system of `folder` keeps a mode for each file: exFAT, FAT and most network mounts keep none.

    It is tried, with a file that only this user may read. True where none can be made, which is told elsewhere.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=".rights-", dir=folder)
    except OSError:
        return True
    try:
        os.chmod(name, 0o600)
        return stat.S_IMODE(os.stat(name).st_mode) == 0o600
    except OSError:  # of a file that is this user's own
        return False
    finally:
        os.close(descriptor)
        os.unlink(name)


def restrict(path: Path, mode: int) -> None:
    """Give `path` the mode, where its file system keeps modes. Raises OSError where it does, and refuses."""
    try:
        path.chmod(mode)
    except OSError:
        if has_rights(path if path.is_dir() else path.parent):
            raise


def is_closed(folder: Path) -> bool:
    """Return whether this process may not look into `folder`, which is there."""
    try:
        os.scandir(folder).close()
        os.stat(folder / ".")
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def explain_rights(path: Path) -> str:
    """Say, as a clause to add to an error about `path`, why this user cannot write it; "" where nothing tells."""
    if is_read_only(path):
        return "; it is on a file system that is mounted read-only, whose home can be read and not worked in"
    return explain_owner(path)


def explain_owner(path: Path) -> str:
    """Say, as a clause to add to an error about `path`, whose it is and what to do; "" where it is this user's own."""
    owner = find_owner(path)
    user = os.geteuid()
    if owner is None or owner == user:
        return ""
    if owner == 0:
        return f"; it is root's, and you are {name_user(user)}: was it made by `sudo`? `sudo chown -R {name_user(user)} {shlex.quote(str(path))}` makes it yours"
    return f"; it is {name_user(owner)}'s, and you are {name_user(user)}: `{write_sudo(owner)} prefd …` works as {name_user(owner)}"


def is_refusal(error: OSError) -> bool:
    """Return whether an error is of rights, not of what is there."""
    return error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
