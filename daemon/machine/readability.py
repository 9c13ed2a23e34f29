"""`explain_unreadable` says why this very process may not read a file or folder, or would wait for it to be downloaded.

On macOS a program that launchd has started has not the rights of Terminal: it may not look into the folders of a user's documents,
nor onto removable drives, until its user has allowed it. The system answers EPERM, which says none of that.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from prefd.daemon.machine.owners import explain_owner

PROTECTED = ("Documents", "Desktop", "Downloads", "Library/Mobile Documents", "Library/CloudStorage")
"""Folders below a user's own whose contents macOS guards, iCloud Drive's and other clouds' among them."""
REMOVABLE = Path("/Volumes")
SF_DATALESS = 0x40000000
"""The flag of a file of which only the name is on this Mac."""
IN_CLOUD = "is in the cloud and not on this Mac: open it once in Finder, or choose Download Now there"
SETTINGS = "System Settings › Privacy & Security › Full Disk Access"


def explain_unreadable(path: Path) -> str | None:
    """Say, as what goes on after the path's name, why it cannot be read; None where it can, or is not there."""
    try:
        if path.is_dir():
            os.scandir(path).close()
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        return explain_refusal(path, error)
    except OSError:
        return None
    try:
        return IN_CLOUD if is_dataless(os.fstat(descriptor)) else None
    finally:
        os.close(descriptor)


def is_protected(path: Path) -> bool:
    """Return whether macOS asks a program's user before the program may look there."""
    if sys.platform != "darwin":
        return False
    return path.is_relative_to(REMOVABLE) or any(path.is_relative_to(Path.home() / name) for name in PROTECTED)


def list_documents() -> list[Path]:
    """List the folders of this user's where models and data may lie, and which macOS guards; none on another system."""
    folders = [Path.home() / name for name in PROTECTED[:3]] if sys.platform == "darwin" else []
    return [folder for folder in folders if folder.exists()]


def is_dataless(info: os.stat_result) -> bool:
    """Return whether the file's contents would have to be downloaded first, as of one that iCloud has taken off the disk."""
    flags: int = getattr(info, "st_flags", 0)
    return bool(flags & SF_DATALESS)


def find_dataless(files: Iterable[Path]) -> Path | None:
    """Return the first of the files whose contents are not on this Mac; None on another system, whose files always are."""
    if sys.platform != "darwin":
        return None
    return next((path for path in files if path.exists() and is_dataless(path.stat())), None)


def explain_refusal(path: Path, error: PermissionError) -> str:
    """Say, as what goes on after the path's name, why the system refused to read it."""
    if error.errno == errno.EPERM and is_protected(path):
        return (
            f"cannot be read by this prefd, though you may read it in Terminal: macOS does not let programs look there. "
            f"Allow {os.path.realpath(sys.executable)} in {SETTINGS}, or move it to another folder"
        )
    return f"may not be read: {error.strerror}{explain_owner(path)}"
