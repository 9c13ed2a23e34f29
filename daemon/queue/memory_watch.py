"""Whether a worker ended for want of memory: what it took, what was free, and what the system counted."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field

import psutil

from prefd.daemon.machine.memory import OUT_OF_MEMORY, kills, private_bytes
from prefd.daemon.timing import USUAL, Timing

LOW = 0.05
"""Of the machine's memory: with less free, a SIGKILL that nobody sent is probably the system's."""


@dataclass
class MemoryWatch:
    """One worker's memory while it runs. `limit` in bytes."""

    pid: int
    limit: int | None = None
    peak: int = 0
    """Bytes."""
    free: float = 1.0
    """The smallest share of the machine's memory that was seen free."""
    over: bool = False
    """Whether it went over its limit."""
    kills_before: int = field(default_factory=lambda: kills())
    """How many processes the system had killed for want of memory before the worker started."""
    timing: Timing = USUAL
    _looked: float = float("-inf")

    def look(self) -> None:
        """Now and then: how much it takes, and what is left."""
        now = time.monotonic()
        if now - self._looked < self.timing.memory_look:
            return
        self._looked = now
        try:
            taken = private_bytes(psutil.Process(self.pid))
        except psutil.Error:
            return
        machine = psutil.virtual_memory()
        self.peak = max(self.peak, taken)
        self.free = min(self.free, machine.available / machine.total)
        self.over = self.over or (self.limit is not None and taken > self.limit)

    @property
    def far_over(self) -> bool:
        """Whether it has no time to save its state in."""
        return self.limit is not None and self.peak > 1.25 * self.limit

    def verdict(self, returncode: int, log_tail: str) -> str | None:
        """In words, where memory was or may have been the end of it."""
        took = f"it took {self.peak / 1e9:.2f} GB at most, as far as was seen"
        if returncode == -signal.SIGKILL and kills() > self.kills_before:
            return f"the system ran out of memory and killed the worker; {took}"
        if returncode == -signal.SIGKILL and self.free < LOW:
            return f"the worker was killed, probably for want of memory ({self.free:.1%} of it was free); {took}"
        if returncode and (found := OUT_OF_MEMORY.search(log_tail)):
            return f"the worker ran out of memory ({found.group()}); {took}"
        return None
