"""WorkerAhead is a worker that is started before its job is known: it imports the model library while `prefd run` checks the spec.

This module imports little, for the sooner it is started, the sooner a job begins.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.interpreter import AHEAD, WORKER, build_environment

if TYPE_CHECKING:
    from prefd.daemon.runs.orders import Orders


class WorkerAhead:
    """WorkerAhead holds the process, and this end of its line, until a job takes them; what no job takes is ended."""

    def __init__(self, process: subprocess.Popen[bytes], line: socket.socket) -> None:
        self._process = process
        self._line: socket.socket | None = line

    @classmethod
    def start(cls, home: Home, command: Sequence[str] = WORKER) -> Self | None:
        """Start one for a job of `home`; None where none can be started, which the job's own start tells then."""
        ours, theirs = socket.socketpair()
        try:
            with theirs, tempfile.TemporaryFile() as log:
                process = subprocess.Popen(
                    (*command, AHEAD, "--home", str(home.root), "--next-phase", str(theirs.fileno())),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(theirs.fileno(),),
                    env=os.environ | build_environment(),
                )
        except BaseException as error:
            ours.close()
            if isinstance(error, OSError):
                return None
            raise
        return cls(process, ours)

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._line is not None:
            self._line.close()
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def take(self, orders: Orders) -> tuple[TakenWorker, socket.socket] | None:
        """Have it do what `orders` say; return it with its line, or None where it was taken already, or is gone."""
        line = self._line
        if line is None or self._process.poll() is not None:
            return None
        try:
            orders.send(line)
        except OSError:
            return None
        self._line = None
        line.setblocking(False)
        return TakenWorker(self._process), line


class TakenWorker:
    """TakenWorker is a worker's process as asyncio's are: it can be awaited."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Return what it ended with; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for its end, and return what it ended with."""
        from prefd.daemon.machine.threads import run_in_thread

        return await run_in_thread(self._process.wait)
