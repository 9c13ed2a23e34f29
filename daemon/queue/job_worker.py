"""JobWorker is one worker process of a job, which runs the job's phases one after the other while they end well.

Between two phases it has no model in memory, and waits until its supervisor has written down that the job has moved
(`prefd.daemon.runs.next_phase`). A worker that ends with its phase is as good: the next phase has another one then.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from prefd.daemon.machine.processes import signal_group
from prefd.daemon.queue.worker_ahead import WorkerAhead
from prefd.daemon.runs.next_phase import MOST_BYTES
from prefd.daemon.runs.orders import Orders
from prefd.daemon.runs.phases import Phase
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.step_memory import StepMemory
from prefd.daemon.specs.losses import Provision

LEAVE_SECONDS = 10.0
"""How long a worker that waits for a phase has to leave when it gets none."""


class WorkerProcess(Protocol):
    """WorkerProcess is what is asked of a process: asyncio's, or one that was there before."""

    @property
    def pid(self) -> int:
        """Return its process id."""
        ...

    @property
    def returncode(self) -> int | None:
        """Return what it ended with; None while it runs."""
        ...

    async def wait(self) -> int:
        """Wait for its end, and return what it ended with."""
        ...


class JobWorker:
    """JobWorker holds a worker's process, this end of its line, and what it was started with."""

    def __init__(self, process: WorkerProcess, line: socket.socket, provision: Provision, steps: StepMemory) -> None:
        self.process = process
        self.steps = steps
        self.provision = provision
        self._line = line
        self._exit = asyncio.ensure_future(process.wait())

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        arguments: Sequence[str],
        run: RunDir,
        lock: int,
        environment: Mapping[str, str],
        provision: Provision,
        ahead: WorkerAhead | None = None,
    ) -> JobWorker:
        """Start a worker in its job's folder, with `arguments` to `command`. Raises OSError where none can be started.

        It inherits the descriptor `lock`, and is handed the settings of `provision` besides the variables in `environment`. `ahead`:
        one that was started already, which is taken where it is still there.
        """
        steps = StepMemory.open()
        variables = {**environment, **provision.settings.environment(), **steps.environment()}
        try:
            with run.log.open("ab") as log:
                orders = Orders(arguments, variables, run.root, lock, steps.descriptor, log.fileno())
                worker_ahead = None if ahead is None else ahead.take(orders)
                process, line = worker_ahead or await start_process(command, orders)
        except BaseException:
            steps.close()
            raise
        return cls(process, line, provision, steps)

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self.process.pid

    def was_given(self, provision: Provision) -> bool:
        """Say whether it was started with these very plugins and settings, none of which has been listed anew since."""
        return self.provision.catalog is provision.catalog and self.provision.settings == provision.settings

    @property
    def is_over(self) -> bool:
        """Say whether the process has ended."""
        return self._exit.done()

    async def wait_for_phase(self) -> bool:
        """Wait for the end of its phase. Returns whether it waits for another one; else its process has ended."""
        message = asyncio.ensure_future(self._read_message())
        try:
            await asyncio.wait([message, self._exit], return_when=asyncio.FIRST_COMPLETED)
            if self._exit.done() or not message.result():  # a worker that has closed the line is about to end
                await asyncio.shield(self._exit)
                return False
            return True
        finally:
            message.cancel()
            await asyncio.wait([message])  # the event loop has let go of the line, which may be closed now

    async def _read_message(self) -> bytes:
        try:
            return await asyncio.get_running_loop().sock_recv(self._line, MOST_BYTES)
        except OSError:
            return b""

    async def begin(self, phase: Phase) -> None:
        """Have a worker that waits run `phase`. One that has ended meanwhile runs nothing, as its exit shows."""
        with suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self._line, f"{phase}\n".encode("ascii"))

    async def dismiss(self) -> None:
        """Have a worker that waits for a phase leave, and wait until it has."""
        self._line.close()
        try:
            await asyncio.wait([self._exit], timeout=LEAVE_SECONDS)
        finally:
            await self.end()
            self.steps.close()

    async def end(self) -> None:
        """Kill what is left of the process and its children, if any."""
        self._line.close()
        signal_group(self.pid, signal.SIGKILL)
        await asyncio.shield(self._exit)


async def start_process(command: Sequence[str], orders: Orders) -> tuple[WorkerProcess, socket.socket]:
    """Start a worker's process that does what `orders` say; return it with this end of its line. Raises OSError."""
    ours, theirs = socket.socketpair()
    try:
        ours.setblocking(False)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(*command, *orders.arguments, "--next-phase", str(theirs.fileno())),
                cwd=orders.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=orders.log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(orders.lock, theirs.fileno(), orders.steps),
                env=os.environ | orders.environment,
            )
    except BaseException:
        ours.close()
        raise
    return process, ours
