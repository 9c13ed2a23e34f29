"""`find_foreign_daemon` recognises a daemon that runs as another user: it answers to nobody else, and does not say so on its socket.

What decides is the owner of the process that holds the home's lock, or of the home where that cannot be looked at.
"""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from pathlib import Path

from prefd.daemon.errors import Exit, PrefdError
from prefd.daemon.home.layout import Home
from prefd.daemon.home.lock import is_held, read_announcement
from prefd.daemon.machine.owners import find_owner, is_closed, name_user, write_sudo

DEFAULT_FOLDER = "Library/Application Support/prefd" if sys.platform == "darwin" else ".local/share/prefd"
"""Where the home of a user is who says nothing else, in the user's own folder."""


class DaemonOfAnotherUser(PrefdError):
    """A daemon serves this home as another user; the message says as whom, and how to ask it."""

    exit_code = Exit.FAILED
    http_status = 503

    def __init__(self, problem: str, command: str) -> None:
        super().__init__(f"{problem}: {command}")
        self.problem = problem
        self.command = command
        """What is typed to ask that daemon."""


def find_foreign_daemon(home: Home) -> DaemonOfAnotherUser | None:
    """Return the error for a home whose daemon runs as another user; None where none runs, or this user's own does."""
    if not is_held(home):
        return None
    holder = read_announcement(home)
    owner = None if holder is None else _find_process_owner(holder.pid)
    if owner is None:
        owner = find_owner(home.lock)
    if owner is None or owner == os.geteuid():
        return None
    name = name_user(owner)
    if is_closed(home.run):
        problem = f"{home.run} is {name}'s, and closed to you: whether a daemon runs there, only {name} can ask"
        return DaemonOfAnotherUser(problem, write_command(home, owner, "status"))
    pid = "" if holder is None else f" (pid {holder.pid})"
    problem = f"the daemon{pid} of {home.root} runs as {name} and answers to nobody else"
    return DaemonOfAnotherUser(problem, write_command(home, owner, "status"))


def write_command(home: Home, owner: int, command: str) -> str:
    """Write the command that asks `owner`'s daemon on this home, as another user types it."""
    try:
        entry = pwd.getpwuid(owner)
    except KeyError:
        is_default = False
    else:
        is_default = home.root == Path(entry.pw_dir, DEFAULT_FOLDER)
    place = "" if is_default else f" --home {shlex.quote(str(home.root))}"
    return f"{write_sudo(owner)} prefd{place} {command}"


def _find_process_owner(pid: int) -> int | None:
    """Return the effective user of a process; None where there is none, or nobody tells."""
    import psutil  # here: most commands need none of it

    try:
        return int(psutil.Process(pid).uids().effective)
    except psutil.Error:
        return None
