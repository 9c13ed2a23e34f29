"""`lock_worker` keeps a job's worker process the only one, and `describe_end` says how such a process ended."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

from prefd.daemon.machine.processes import describe_exit
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.worker_log import read_tail


def lock_worker(path: Path) -> int | None:
    """Takes the lock on `path`: a descriptor for a worker to inherit, or None while another worker has it.

    The kernel drops the lock when the last process that holds the descriptor ends, however it ends. So a job never
    has two workers, even when a daemon dies before it could write down the pid of the one it started.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def describe_busy_folder(run: RunDir) -> str:
    """Say why a job fails whose folder another worker still uses."""
    return f"another worker still works in {run.root}; end it, then `prefd retry {run.root.name}`"


def describe_end(returncode: int, log: Path, since: int = 0) -> str:
    """Says how a worker that left no outcome ended, with the last lines it logged after byte `since`."""
    if returncode == -signal.SIGKILL:
        cause = "the worker was killed by SIGKILL, which neither prefd nor, as far as it tells, the system sent"
    elif returncode == -signal.SIGALRM:
        cause = "the worker's ranks did not all join within the time for it, and the system ended it (SIGALRM)"
    elif returncode < 0:
        cause = f"the worker died of {describe_exit(returncode)}"
    elif returncode == 0:
        cause = "the worker ended without saying how it went"
    else:
        cause = f"the worker ended with exit code {returncode} and did not say why"
    last = read_tail(log, since=since)
    return f"{cause}; its log ends:\n{last}" if last else f"{cause}; its log is empty"
