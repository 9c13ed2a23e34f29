"""Starts ranks: on this machine as child processes, on others by ssh.

Each has a session of its own: what stops this worker is not to end them before it has saved what they computed.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from prefd.daemon.home.hosts import Host
from prefd.daemon.machine.interpreter import WORKER
from prefd.daemon.worker.ranks.seats import Seat
from prefd.daemon.worker.ranks.welcome import Welcome

TASK = "far-rank"
CONNECT_SECONDS = 10
OPTIONS = (
    "-T",
    "-o",
    "BatchMode=yes",
    "-o",
    f"ConnectTimeout={CONNECT_SECONDS}",
    "-o",
    "ServerAliveInterval=5",
    "-o",
    "ServerAliveCountMax=3",
)
"""ssh asks for nothing, and notices within 15 seconds that nobody is at the other end."""


def start_here(seat: Seat, home: Path, job_id: int) -> subprocess.Popen[bytes]:
    """Start a rank of a job of this home on this machine."""
    return subprocess.Popen(
        [*WORKER, "rank", "--home", str(home), "--job", str(job_id)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | seat.environment | {"PREFD_PARENT": str(os.getpid())},
    )


def start_there(host: Host, welcome: Welcome) -> subprocess.Popen[bytes]:
    """Start a rank on another machine, and send it what it begins with."""
    process = subprocess.Popen(
        ["ssh", *OPTIONS, host.ssh, write_command(host)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    with suppress(OSError):  # of an ssh that has ended at once: the wait for the rank's first answer tells why
        welcome.write(process.stdin)
    return process


def write_command(host: Host) -> str:
    """Write the command that the shell of `host` is to run; ~ stands for the user's folder there."""
    python = host.python or sys.executable
    home, rest = ("~/", python[2:]) if python.startswith("~/") else ("", python)
    return f"exec {home}{shlex.join([rest, *WORKER[1:], TASK])}"
