"""`explain_unreadable` says why this very process may not read a file or folder, or would wait for it to be downloaded.

On macOS a program that launchd has started has not the rights of Terminal: it may not look into the folders of a user's documents,
nor onto removable drives, until its user has allowed it. The system answers EPERM, which says none of that.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from prefd.daemon.machine.cloud import CLOUD_FOLDERS, IN_CLOUD, is_dataless
from prefd.daemon.machine.owners import explain_owner

PROTECTED = ("Documents", "Desktop", "Downloads", *CLOUD_FOLDERS)
"""Folders below a user's own whose contents macOS guards, iCloud Drive's and other clouds' among them."""
REMOVABLE = Path("/Volumes")
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


def explain_refusal(path: Path, error: PermissionError) -> str:
    """Say, as what goes on after the path's name, why the system refused to read it."""
    if error.errno == errno.EPERM and is_protected(path):
        return (
            f"cannot be read by this prefd, though you may read it in Terminal: macOS does not let programs look there. "
            f"Allow {os.path.realpath(sys.executable)} in {SETTINGS}, or move it to another folder"
        )
    return f"may not be read: {error.strerror}{explain_owner(path)}"
