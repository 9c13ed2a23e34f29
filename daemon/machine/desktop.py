"""Opens a folder in the file manager of the desktop that the user sits at: Finder, or what xdg-open knows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FINDER = Path("/usr/bin/open")
OPEN_SECONDS = 10.0
"""How long the opening program may take to fail: some file managers go on running as long as their window is open."""


@dataclass(frozen=True)
class Opening:
    """Opening is whether a folder was opened, and in words by what, or why not."""

    is_open: bool
    words: str


def open_folder(folder: Path, seconds: float = OPEN_SECONDS) -> Opening:
    """Open `folder` where there is a desktop to show it on."""
    if "SSH_CONNECTION" in os.environ and not is_x11_forwarded():
        return Opening(False, "not opened: over ssh it would be shown on the screen of the other machine")
    if sys.platform == "darwin":
        program, name = (str(FINDER) if FINDER.exists() else None), "Finder"
    else:
        program, name = shutil.which("xdg-open"), "your file manager"
        if not has_desktop():
            return Opening(False, "not opened: there is no desktop here ($DISPLAY and $WAYLAND_DISPLAY are not set)")
    if program is None:
        return Opening(False, "not opened: there is no xdg-open (package xdg-utils) here")
    try:
        child = subprocess.Popen(
            [program, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        code = child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.returncode = 0  # it goes on by itself, and nobody waits for it
        return Opening(True, f"opened in {name}")
    except OSError as error:
        return Opening(False, f"not opened: {program}: {error.strerror or error}")
    if code:
        return Opening(False, f"not opened: {program} ended with exit code {code}")
    return Opening(True, f"opened in {name}")


def has_desktop() -> bool:
    """Return whether this process has a desktop to show windows on, on a system other than macOS."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def is_x11_forwarded() -> bool:
    """Return whether ssh shows this process's windows on the near screen."""
    return sys.platform != "darwin" and bool(os.environ.get("DISPLAY"))
