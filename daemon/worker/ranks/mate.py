"""Mate is one of the other ranks of a job, as the first sees it: its process, what it has said, and how it ended.

On this machine the process is the rank; of a rank on another machine it is the ssh that leads there, whose pipes are the rank's.
"""

from __future__ import annotations

import logging
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from prefd.daemon.errors import PrefdError, WorkerExit
from prefd.daemon.machine.processes import describe_exit
from prefd.daemon.worker.ranks.frames import Array, BrokenFrame, Frame, NoFrame, read_frame, write_frame
from prefd.daemon.worker.ranks.seats import Seat

log = logging.getLogger(__name__)

CAUSE_SECONDS = 1.0
"""For the first of several deaths to be known: those of the others are its consequences."""
SEND_SECONDS = 1.0
"""For a command that is being sent to a rank which is to end."""
SSH_FAILED = 255
"""What ssh itself exits with: it cannot connect, the connection was lost, or what ran there was killed."""
BY_SIGNAL = 128
"""A shell exits with this and the number of the signal that its program died of."""


class LostRank(PrefdError):
    """A rank has ended, or says nothing any more; the message says which, and how. What was computed last is not whole."""


class Mate:
    """Mate is one of the other ranks: its process, what it has said, and when."""

    def __init__(self, seat: Seat, process: subprocess.Popen[bytes]) -> None:
        self.seat = seat
        self.rank = seat.rank
        self.process = process
        self.frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        """What it has said besides beats; None at its end."""
        self.heard_at = time.monotonic()
        self.owes = 0
        """How many of its commands it has not answered."""
        self.words = ""
        """The error that it ended with, as it said it."""
        self.cause = ""
        """Why it was ended here; empty where it was not."""
        self.last_line = ""
        """Of what ssh, or the rank at its other end, has logged."""
        self.news = threading.Event()
        """Set when there is something to hear; a crew has one for all."""
        self.memory: tuple[int, int] | None = None
        """The bytes that its machine has, and those that were free when it began; None where it was not asked."""
        self._writing = threading.Lock()
        self._listeners = [threading.Thread(target=self._listen, name=f"rank-{self.rank}", daemon=True)]
        if process.stderr is not None:
            self._listeners.append(
                threading.Thread(target=self._log, args=(process.stderr,), name=f"rank-{self.rank}-log", daemon=True)
            )
        for thread in self._listeners:
            thread.start()

    @property
    def name(self) -> str:
        """Name it for messages."""
        return f"rank {self.rank} ({self.seat.name or f'pid {self.process.pid}'})"

    def tell(self, head: Mapping[str, Any], arrays: Sequence[Array] = ()) -> None:
        """Send a command, which it will answer. Raises LostRank."""
        assert self.process.stdin is not None
        self.owes += 1
        self.heard_at = time.monotonic()
        try:
            with self._writing:
                write_frame(self.process.stdin, head, arrays)
        except (OSError, ValueError) as error:
            raise LostRank(self.describe_end()) from error

    def beat(self) -> None:
        """Let a rank of another machine know that this one is there; nothing where a command is just being sent."""
        assert self.process.stdin is not None
        if self._writing.acquire(blocking=False):
            try:
                with suppress(OSError, ValueError):
                    write_frame(self.process.stdin, {"beat": True})
            finally:
                self._writing.release()

    def close_input(self) -> None:
        """Tell it to end; one that does not take what is just being sent to it is killed."""
        assert self.process.stdin is not None
        is_free = self._writing.acquire(timeout=SEND_SECONDS)
        if not is_free:  # to close a pipe that another thread writes to would be to wait for that
            self.process.kill()
        with suppress(OSError, ValueError):
            self.process.stdin.close()
        if is_free:
            self._writing.release()

    def hear(self) -> Frame:
        """Wait for its next answer. Raises LostRank where it ends before."""
        frame = self.frames.get()
        if frame is None:
            raise LostRank(self.describe_end())
        self.owes -= 1
        return frame

    @property
    def has_answered(self) -> bool:
        """Return whether it has answered something that was not heard yet, or has ended."""
        return not self.frames.empty()

    @property
    def is_awaited(self) -> bool:
        """Return whether it has still to answer: what it has said already, and nobody has heard yet, it owes no more."""
        return self.owes > self.frames.qsize()

    @property
    def is_victim(self) -> bool:
        """Return whether it has ended by something else than the end of another rank, as far as is known."""
        code = self.process.poll()
        return code is not None and code not in (WorkerExit.DONE, WorkerExit.LOST_RANK)

    def describe_end(self) -> str:
        """Say how it ended; waits a moment for that."""
        if self.words:
            return f"rank {self.rank}{f' ({self.seat.name})' if self.seat.name else ''} failed: {self.words}"
        if self.cause:
            return self.cause
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(CAUSE_SECONDS)
        code = self.process.returncode
        if code is None:
            return f"{self.name} has closed its pipe"
        if self.seat.name:
            for thread in self._listeners[1:]:
                thread.join(CAUSE_SECONDS)
            return f"{self.name} {self._describe_far_end(code)}"
        if code < 0:
            return f"{self.name} died of {describe_exit(code)}"
        return f"{self.name} ended with exit code {code}; what it said is above"

    def _describe_far_end(self, code: int) -> str:
        last_words = f": {self.last_line}" if self.last_line else ""
        if code == SSH_FAILED:
            return f"was lost: ssh ended{last_words or ', and said nothing: the connection broke, or the rank was killed there'}"
        if code < 0:
            return f"was lost: its ssh died of {describe_exit(code)}"
        if code > BY_SIGNAL:
            return f"died of {describe_exit(BY_SIGNAL - code)}{last_words}"
        return f"ended with exit code {code}{last_words}"

    def _listen(self) -> None:
        assert self.process.stdout is not None
        try:
            with self.process.stdout as stream:
                while (frame := read_frame(stream)) is not None:
                    self.heard_at = time.monotonic()
                    if "failed" in frame.head:
                        self.words = str(frame.head["failed"])
                    elif "beat" not in frame.head:
                        self.frames.put(frame)
                        self.news.set()
        except NoFrame as error:
            self.words = (
                f"{error}; does a login there print something (~/.bashrc, ~/.zshenv)?" if self.seat.name else ""
            )
            log.warning("%s: %s", self.name, error)
        except (BrokenFrame, OSError, ValueError) as error:
            log.warning("%s: %s", self.name, error)
        self.frames.put(None)
        self.news.set()

    def _log(self, stream: IO[bytes]) -> None:
        """Copy what comes over ssh's stderr to this process's log."""
        with stream:
            for line in stream:
                text = line.decode("utf-8", "replace").rstrip()
                if text:
                    self.last_line = text
                    print(f"[{self.seat.name}] {text}", file=sys.stderr, flush=True)
