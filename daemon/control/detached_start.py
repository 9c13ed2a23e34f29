"""Starts a daemon in the background: a process of its own session, which no terminal's end reaches.

It is started anew rather than forked: it inherits no thread, no lock and no descriptor but its log, and its working
folder is the home. Its umask is the user's; the home itself is closed to others.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from prefd.daemon.errors import PrefdError
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.interpreter import PYTHON
from prefd.daemon.runs.worker_log import read_tail
from prefd.daemon.timing import USUAL, Timing

LOG_LINES = 15
LOG_BYTES = 8000


class NotStarted(PrefdError):
    """The daemon did not come up; the message ends with what it said."""


def start_detached(home: Home, timing: Timing = USUAL, options: Sequence[str] = ()) -> int:
    """Starts a daemon on `home`, with further options of `prefd start`; returns its pid once its control socket answers. Raises NotStarted."""
    with home.log.open("ab") as log:
        begin = log.tell()
        daemon = subprocess.Popen(
            [*PYTHON, "-m", "prefd.daemon.cli", "--home", str(home.root), "start", "--log-to-file", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home.root,
            start_new_session=True,
        )
    deadline = time.monotonic() + timing.detached_start
    while (code := daemon.poll()) is None:
        if is_answering(home, daemon.pid):
            daemon.returncode = 0  # it outlives us: nothing for Popen to wait for or to warn of
            return daemon.pid
        if time.monotonic() > deadline:
            end_daemon(daemon, timing.detached_end)
            problem = f"the daemon did not answer within {timing.detached_start:g} s and was ended"
            raise NotStarted(f"{problem}\n{describe_last_words(home.log, begin)}")
        time.sleep(0.1)
    raise NotStarted(f"the daemon ended at once, with exit code {code}\n{describe_last_words(home.log, begin)}")


def end_daemon(daemon: subprocess.Popen[bytes], seconds: float) -> None:
    """Ends the daemon, by force where it does not end within `seconds`."""
    daemon.terminate()
    try:
        daemon.wait(seconds)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def is_answering(home: Home, pid: int) -> bool:
    """Returns whether the daemon that answers on `home` is process `pid`."""
    from prefd.daemon.control.client import Client, DaemonNotRunning
    from prefd.daemon.control.control_error import ControlError

    try:
        return bool(Client(home).status().pid == pid)
    except (DaemonNotRunning, ControlError):
        return False


def describe_last_words(log: Path, begin: int) -> str:
    """Describes the last lines written to `log` since byte `begin`; since its start, where it has been rotated."""
    words = read_tail(log, LOG_LINES, since=begin, limit=LOG_BYTES)
    return f"{log} ends with:\n{words}" if words else f"{log} says nothing"
