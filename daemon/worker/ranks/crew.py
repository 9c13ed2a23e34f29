"""Crew is the other ranks of a job, as its worker sees them: it starts them, tells them what to do, and says who was lost and why.

Each is a process of its own, with a pipe to and from it. The end of its input is its lifeline: however this process ends, the
others end at once.
"""

from __future__ import annotations

import logging
import os
import queue
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from prefd.daemon.errors import PrefdError
from prefd.daemon.machine.processes import describe_exit
from prefd.daemon.worker.ranks.count import read_ranks, read_shares
from prefd.daemon.worker.ranks.frames import Array, BrokenFrame, Frame, read_frame, write_frame
from prefd.daemon.worker.ranks.ring import LostRing, Ring, RingPlace

log = logging.getLogger(__name__)

START_SECONDS = 60
"""For all ranks to find each other, once each has loaded what it needs."""
CAUSE_SECONDS = 1.0
"""For the first of several deaths to be known: those of the others are its consequences."""
LOOK_SECONDS = 0.5
LEAVE_SECONDS = 2.0


class LostRank(PrefdError):
    """A rank has ended, or says nothing any more; the message says which, and how. What was computed last is not whole."""


class Mate:
    """Mate is one of the other ranks: its process, what it has said, and when."""

    def __init__(self, rank: int, process: subprocess.Popen[bytes]) -> None:
        self.rank = rank
        self.process = process
        self.frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        """What it has said besides beats; None at its end."""
        self.heard_at = time.monotonic()
        self.owes = 0
        """How many of its commands it has not answered."""
        self.words = ""
        """The error that it ended with, as it said it."""
        threading.Thread(target=self._listen, name=f"rank-{rank}", daemon=True).start()

    def tell(self, head: Mapping[str, Any], arrays: Sequence[Array] = ()) -> None:
        """Send a command, which it will answer. Raises LostRank."""
        assert self.process.stdin is not None
        self.owes += 1
        self.heard_at = time.monotonic()
        try:
            write_frame(self.process.stdin, head, arrays)
        except OSError as error:
            raise LostRank(self.describe_end()) from error

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

    def describe_end(self) -> str:
        """Say how it ended; waits a moment for that."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(CAUSE_SECONDS)
        code = self.process.returncode
        if self.words:
            return f"rank {self.rank} failed: {self.words}"
        if code is None:
            return f"rank {self.rank} (pid {self.process.pid}) has closed its pipe"
        if code < 0:
            return f"rank {self.rank} (pid {self.process.pid}) died of {describe_exit(code)}"
        return f"rank {self.rank} (pid {self.process.pid}) ended with exit code {code}; what it said is above"

    def _listen(self) -> None:
        assert self.process.stdout is not None
        try:
            while (frame := read_frame(self.process.stdout)) is not None:
                self.heard_at = time.monotonic()
                if "failed" in frame.head:
                    self.words = str(frame.head["failed"])
                elif "beat" not in frame.head:
                    self.frames.put(frame)
        except (BrokenFrame, OSError, ValueError) as error:
            log.warning("rank %d: %s", self.rank, error)
        self.frames.put(None)


class Crew:
    """Crew is all other ranks of a job; this process is rank 0. `timeout`: nobody may say nothing for so many seconds."""

    def __init__(self, mates: Sequence[Mate], timeout: float) -> None:
        self.mates = list(mates)
        self.timeout = timeout
        self.ring: Ring | None = None
        self.cause = ""
        """Why ranks were ended here, where they were."""
        self._summing_since: float | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="ranks-watch", daemon=True).start()

    @property
    def size(self) -> int:
        """Return how many ranks there are, this one too."""
        return len(self.mates) + 1

    def join_ring(self) -> None:
        """Make a ring of all ranks. Raises LostRank."""
        place = RingPlace(0, tuple(find_addresses(self.size)), secrets.token_hex(16))
        for mate in self.mates:
            mate.tell({"do": "join", "rank": mate.rank, "addresses": place.addresses, "nonce": place.nonce})
        log.info(
            "ranks: joining %s; where that takes %d s, this worker ends", ", ".join(place.addresses), START_SECONDS
        )
        with self._explained():
            self.ring = Ring.join(place, START_SECONDS)
        for mate in self.mates:
            mate.hear()

    @contextmanager
    def summing(self) -> Iterator[Ring]:
        """Give the ring for one sum in the block. Raises LostRank where it breaks, with what it broke of."""
        assert self.ring is not None
        self._summing_since = time.monotonic()
        try:
            with self._explained():
                yield self.ring
        finally:
            self._summing_since = None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except LostRing as error:
            raise LostRank(self._find_cause(str(error))) from error

    def _find_cause(self, error: str) -> str:
        """Find whose end broke the ring: the first to have ended by itself; the others' are consequences."""
        deadline = time.monotonic() + CAUSE_SECONDS
        while time.monotonic() < deadline:
            if self.cause:
                return self.cause
            ended = [mate for mate in self.mates if mate.process.poll() is not None]
            if ended:
                return min(ended, key=lambda mate: (mate.process.returncode >= 0, mate.rank)).describe_end()
            time.sleep(0.02)
        return error

    def _watch(self) -> None:
        """End ranks that say nothing any more, so that nobody waits for them without an end."""
        while not self._closed.wait(min(LOOK_SECONDS, self.timeout / 4)):
            now = time.monotonic()
            silent = [mate for mate in self.mates if mate.owes and now - mate.heard_at > self.timeout]
            summing = self._summing_since
            if silent and (summing is None or now - summing > min(self.timeout, LOOK_SECONDS)):
                self._end(silent, f"rank {silent[0].rank} said nothing for {self.timeout:g} s")
            elif summing is not None and now - summing > self.timeout:
                self._end(self.mates, f"the ranks' sum did not come within {self.timeout:g} s")

    def _end(self, mates: Sequence[Mate], cause: str) -> None:
        self.cause = self.cause or cause
        for mate in mates:
            if mate.process.poll() is None:
                log.error("%s: it is ended", cause)
                mate.process.kill()

    def close(self) -> None:
        """End the other ranks: they end by themselves when nobody speaks to them any more, or are killed."""
        self._closed.set()
        for mate in self.mates:
            with suppress(OSError):
                assert mate.process.stdin is not None
                mate.process.stdin.close()
        deadline = time.monotonic() + LEAVE_SECONDS
        for mate in self.mates:
            try:
                mate.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                mate.process.kill()
                mate.process.wait()


@contextmanager
def start_crew(home: Path, job_id: int, timeout: float) -> Iterator[Crew]:
    """Start the other ranks of a job on this machine, and end them behind the block.

    Each has a session of its own: what stops this worker is not to end them before it has saved what they computed.
    """
    size, shares = read_ranks(), read_shares()
    with ExitStack() as stack:
        mates = []
        for rank in range(1, size):
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-X",
                    "utf8",
                    "-P",
                    "-m",
                    "prefd.daemon.worker",
                    "rank",
                    "--home",
                    str(home),
                    "--job",
                    str(job_id),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                env=os.environ | shares[rank] | {"PREFD_PARENT": str(os.getpid())},
            )
            stack.callback(process.kill)
            mates.append(Mate(rank, process))
        crew = Crew(mates, timeout)
        stack.callback(crew.close)
        log.info(
            "ranks: %d others are starting (pids %s)", size - 1, ", ".join(str(mate.process.pid) for mate in mates)
        )
        yield crew


def find_addresses(size: int) -> list[str]:
    """Find an address of this machine for each rank on which nothing listens."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(size)]
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in listeners]
