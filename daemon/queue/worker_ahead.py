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
from contextlib import ExitStack, suppress
from typing import IO, TYPE_CHECKING, Self

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.interpreter import AHEAD, WORKER, build_environment
from prefd.daemon.runs.early_words import carry_over

if TYPE_CHECKING:
    from prefd.daemon.runs.orders import Orders


class WorkerAhead:
    """WorkerAhead holds the process, and this end of its line, until a job takes them; what no job takes is ended."""

    def __init__(self, process: subprocess.Popen[bytes], line: socket.socket, early: IO[bytes]) -> None:
        self._process = process
        self._line: socket.socket | None = line
        self._early = early
        """What the process writes before it knows its log."""

    @classmethod
    def start(cls, home: Home, command: Sequence[str] = WORKER) -> Self | None:
        """Start one for a job of `home`; None where none can be started, which the job's own start tells then."""
        with ExitStack() as stack:
            try:
                ours, theirs = map(stack.enter_context, socket.socketpair())
                early = stack.enter_context(tempfile.TemporaryFile())
                process = subprocess.Popen(
                    (*command, AHEAD, "--home", str(home.root), "--next-phase", str(theirs.fileno())),
                    stdin=subprocess.DEVNULL,
                    stdout=early,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(theirs.fileno(),),
                    env=os.environ | build_environment(),
                )
            except OSError:
                return None
            stack.pop_all()
        theirs.close()
        return cls(process, ours, early)

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End the process, where no job has taken it."""
        if self._line is None:
            return
        self._line.close()
        self._line = None
        if self._process.poll() is None:  # a process id that is free may be another's by now
            from prefd.daemon.machine.processes import signal_group

            signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._early.close()

    def take(self, orders: Orders) -> tuple[TakenWorker, socket.socket] | None:
        """Have it do what `orders` say; return it with its line, or None where it was taken already, or is gone."""
        line = self._line
        if line is None or self._process.poll() is not None:
            return None
        try:
            orders.send(line)
        except OSError:
            self.end()
            return None
        self._line = None
        line.setblocking(False)
        return TakenWorker(self._process, self._early, os.dup(orders.log)), line


class TakenWorker:
    """TakenWorker is a worker's process as asyncio's are: it can be awaited.

    `early`: what it has written before it had its log, of which `log` is a descriptor. It carries that over itself, and
    empties the file (`Orders.settle`); where it died before, this is done here, for it may say why.
    """

    def __init__(self, process: subprocess.Popen[bytes], early: IO[bytes], log: int) -> None:
        self._process = process
        self._early = early
        self._log = log

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Return what it ended with; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for its end, and return what it ended with. Called once."""
        from prefd.daemon.machine.threads import run_in_thread

        code = await run_in_thread(self._process.wait)
        with self._early, suppress(OSError):
            carry_over(self._early.fileno(), self._log)
        os.close(self._log)
        return code
