"""LookProcess is one look child that runs: its pipes, its last words, and its memory, which is watched."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from prefd.daemon.errors import PrefdError
from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.machine.interpreter import build_environment
from prefd.daemon.machine.memory import private_bytes
from prefd.daemon.machine.processes import describe_exit, find_last_words, signal_group
from prefd.daemon.text.sizes import format_size
from prefd.daemon.timing import Timing
from prefd.daemon.worker_tasks.looks import READY

LONGEST_LINE = 64 * 2**20
"""Bytes of an answer: a page of rows of a long context."""
KEPT_LINES = 20
"""Of what a child writes to stderr: the last of them say why it ended."""


class LookFailed(PrefdError):
    """A look child ended, or was ended, without an answer; the message says why. The next question starts another."""

    http_status = 503


class LookEnded(LookFailed):
    """A look child was asked as it ended for having nothing to do: the question is to be put to another."""


@dataclass
class LookProcess:
    """LookProcess holds a child that answers questions, and the futures of those that it was asked."""

    process: asyncio.subprocess.Process
    limits: WorkerLimits
    timing: Timing
    _asked: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _stderr: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    _cause: str | None = None
    """Why it was killed from here."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    async def start(
        cls, home: Home, worker: Sequence[str], settings: HandedSettings, limits: WorkerLimits, timing: Timing
    ) -> LookProcess:
        """Start a child. Raises `LookFailed` where none can be started."""
        command = [*worker, "look", "--home", str(home.root), "--idle", f"{timing.look_idle:g}"]
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=LONGEST_LINE,
                start_new_session=True,
                env=os.environ | _build_environment(settings, limits),
            )
        except OSError as error:
            raise LookFailed(f"cannot start a worker ({worker[0]}): {error.strerror or error}") from error
        child = cls(process, limits, timing)
        ready = child._expect(READY)
        child._tasks = [asyncio.create_task(each) for each in (child._read_answers(), child._watch_memory())]
        done, _ = await asyncio.wait({ready}, timeout=timing.look_answer)
        if not done:
            child.kill(f"it was not ready after {timing.look_answer:g} s")
        await ready
        return child

    def _expect(self, number: int) -> asyncio.Future[dict[str, Any]]:
        """Make the future of the answer with this number."""
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # the caller may have gone
        return future

    @property
    def runs(self) -> bool:
        """Say whether it runs, as far as is known."""
        return self.process.returncode is None and self._cause is None

    async def ask(self, number: int, kind: str, question: Mapping[str, Any]) -> asyncio.Future[dict[str, Any]]:
        """Send a question, and return the future of its answer. Raises `LookEnded` where the child has just ended."""
        future = self._expect(number)
        line = json.dumps({"id": number, "kind": kind, "question": question}).encode() + b"\n"
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line)
            await self.process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(future), self.timing.look_interruption)  # its end is the answer
        return future

    def interrupt(self) -> None:
        """Have it leave the question that it answers."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGUSR1)

    def kill(self, cause: str) -> None:
        """End it at once; `cause` says why, to the callers that wait for an answer."""
        self._cause = self._cause or cause
        signal_group(self.process.pid, signal.SIGKILL)

    async def close(self) -> None:
        """End it, and wait until it has ended."""
        self.kill("prefd ends")
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read_answers(self) -> None:
        """Hand each answer to who asked, until the child ends, and then its end to those who still wait."""
        stderr = asyncio.create_task(self._read_stderr())
        assert self.process.stdout is not None
        try:
            async for line in self.process.stdout:
                document = json.loads(line)
                future = self._asked.pop(document["id"], None)
                if future is not None and not future.done():
                    future.set_result(document)
        except ValueError:  # a line that is too long, or no JSON
            self.kill("it gave an answer that cannot be read")
        except asyncio.CancelledError:
            self.kill("prefd ends")
            raise
        finally:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.process.wait(), self.timing.look_interruption)
            signal_group(
                self.process.pid, signal.SIGKILL
            )  # its children, if any, or it that has closed its output and stays
            await self.process.wait()
            await stderr
            end = self._describe_end()
            for future in self._asked.values():
                if not future.done():
                    future.set_exception(end)

    async def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        with suppress(ValueError):
            async for line in self.process.stderr:
                self._stderr.append(line.decode("utf-8", "replace").rstrip())

    async def _watch_memory(self) -> None:
        """Kill the child when it takes more than the settings allow a worker."""
        limit = self.limits.memory_bytes
        while limit is not None and self.runs:
            with suppress(psutil.Error):
                used = private_bytes(psutil.Process(self.process.pid))
                if used > limit:
                    self.kill(f"it took {format_size(used)}, and worker.memory allows {self.limits.memory}")
            await asyncio.sleep(self.timing.memory_look)

    def _describe_end(self) -> LookFailed:
        code = self.process.returncode or 0
        if self._cause is not None:
            return LookFailed(f"the worker that looks at specs was ended: {self._cause}")
        if code == 0:
            return LookEnded("the worker that looks at specs ended as it was asked")
        words = find_last_words("\n".join(self._stderr))
        return LookFailed(
            f"the worker that looks at specs ended with {describe_exit(code)}{f': {words}' if words else ''}"
        )


def _build_environment(settings: HandedSettings, limits: WorkerLimits) -> dict[str, str]:
    return limits.environment(0) | build_environment() | settings.environment()
