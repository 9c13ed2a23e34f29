"""A mount table and limits of its own for a process, without being root, where the machine gives them."""

from __future__ import annotations

import functools
import subprocess
import sys

APART = ("unshare", "--user", "--map-root-user", "--mount")


@functools.cache
def why_not() -> str | None:
    """Why this machine gives a process nothing of its own."""
    if sys.platform != "linux":
        return "only Linux has them"
    mounting = "mount -t tmpfs tmpfs /mnt && echo 1000 > /proc/sys/user/max_inotify_watches"
    try:
        tried = subprocess.run([*APART, "sh", "-c", mounting], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no unshare here"
    return tried.stderr.strip() if tried.returncode else None
