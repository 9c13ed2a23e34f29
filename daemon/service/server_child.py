"""ServerChild runs `prefd web` or `prefd serve` beside the daemon: started again when it dies, ended with the daemon, its trouble told.

Each is a process of its own, so that nothing that a browser or a client asks for holds up a job. It ends when its input is
closed, which the kernel does for a daemon that was killed.
"""

from __future__ import annotations

import asyncio
import logging
import os
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from prefd.daemon.control.status import PageHealth
from prefd.daemon.home.layout import Home
from prefd.daemon.home.page_record import find_page
from prefd.daemon.home.serve_record import find_server
from prefd.daemon.machine.interpreter import PYTHON, UTF8_STREAMS
from prefd.daemon.machine.processes import describe_exit
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)

ERROR = "error: "
"""How a command's last words begin."""


class Served(Protocol):
    """Served says where something is served now, and by which process."""

    @property
    def pid(self) -> int:
        """Return the process."""
        ...

    @property
    def address(self) -> str:
        """Return its address."""
        ...


class ServerConfig(Protocol):
    """ServerConfig is what config.toml says of a server: `[web]` or `[serve]`."""

    @property
    def enabled(self) -> bool:
        """Say whether the daemon is to have it served."""
        ...

    @property
    def host(self) -> str:
        """Return the address."""
        ...

    @property
    def port(self) -> int:
        """Return the port."""
        ...


@dataclass(frozen=True)
class Server:
    """Server is what a child serves."""

    name: str
    """In the log."""
    command: str
    """Of `prefd`, that serves it."""
    find: Callable[[Home], Served | None]
    """Finds where it is served now."""


PAGE = Server("the page", "web", find_page)
CLIENTS = Server("the clients' server", "serve", find_server)


class ServerChild:
    """ServerChild has something of one home served for as long as `run` runs."""

    def __init__(
        self, home: Home, server: Server = PAGE, address: tuple[str, int] | None = None, timing: Timing = USUAL
    ) -> None:
        self.home = home
        self.server = server
        self.address = address
        """Where the command line asked for it, whatever config.toml says; None where it did not."""
        self.timing = timing
        self.wanted = False
        self.pid: int | None = None
        """The process that serves it, or is about to."""
        self.trouble: str | None = None
        """Why it is not served."""

    def describe(self) -> PageHealth | None:
        """Describe whether it is served, and where; None where it is not asked for."""
        if not self.wanted:
            return None
        served = self.server.find(self.home)
        is_there = served is not None and served.pid == self.pid
        return PageHealth(address=served.address if served and is_there else None, pid=self.pid, error=self.trouble)

    async def run(self, config: ServerConfig) -> None:
        """Have it served until cancelled, where the command line or `config` asks for it."""
        self.wanted, self.trouble = self.address is not None or config.enabled, None
        host, port = self.address or (config.host, config.port)
        pause = self.timing.first_page_retry
        while self.wanted:
            began = asyncio.get_running_loop().time()
            trouble = await self._serve_once(host, port)
            if trouble != self.trouble:
                log.warning("%s is not served: %s", self.server.name, trouble)
            self.trouble = trouble
            if asyncio.get_running_loop().time() - began > self.timing.last_page_retry:
                pause = self.timing.first_page_retry
            await asyncio.sleep(pause)
            pause = min(2 * pause, self.timing.last_page_retry)

    async def _serve_once(self, host: str, port: int) -> str:
        """Run one process until it ends, and return why it did."""
        command = [*PYTHON, "-m", "prefd.daemon.cli", "--home", str(self.home.root)]
        try:
            process = await asyncio.create_subprocess_exec(
                *(*command, self.server.command, "--supervised", "--host", host, "--port", str(port)),
                stdin=PIPE,
                stdout=DEVNULL,
                stderr=PIPE,
                env=os.environ | UTF8_STREAMS,
                start_new_session=True,  # Ctrl-C at a daemon in the foreground is for the daemon
            )
        except OSError as error:
            return f"no process can be started for it: {error.strerror or error}"
        self.pid = process.pid
        try:
            last = await self._read_words(process)
            return last.removeprefix(ERROR) or f"its process ended ({describe_exit(await process.wait())})"
        finally:
            self.pid = None
            await self._end(process)

    async def _read_words(self, process: Process) -> str:
        """Log what the process says until it ends, and return the last error that it told; empty where it told none."""
        assert process.stderr is not None
        last = ""
        async for raw in process.stderr:
            line = raw.decode("utf-8", "replace").rstrip()
            if line.startswith(ERROR):
                last = line
            else:
                level = logging.WARNING if line.startswith("warning: ") else logging.INFO
                log.log(level, "%s: %s", self.server.name, line)
        await process.wait()
        return last

    async def _end(self, process: Process) -> None:
        """End the process, by force where it does not end by itself."""
        with suppress(ProcessLookupError):
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), self.timing.page_end)
            except TimeoutError:
                process.kill()
                await process.wait()
