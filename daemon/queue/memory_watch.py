"""MemoryWatch measures a worker's memory while it runs, and tells whether the worker ended for want of memory."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from prefd.daemon.machine.memory import CRITICAL, OUT_OF_MEMORY, count_kills, measure_swap, private_bytes, read_pressure
from prefd.daemon.text.sizes import format_size
from prefd.daemon.timing import USUAL, Timing

LOW = 0.05
"""A share of the machine's memory: with less free, a SIGKILL that prefd did not send is probably the system's."""

LARGE = 0.5
"""A share of the machine's memory: a worker that holds more is what the machine is short of memory by."""
LOOKS = 3
"""How many looks in a row a Mac has to be short of memory before a large worker is stopped."""
SWAPPED = 2_000_000_000
"""Bytes that a Mac has swapped out since a worker began, with which a high pressure, too, counts as short of memory."""


@dataclass
class MemoryWatch:
    """Measures one worker's memory while it runs. `limit` in bytes."""

    pid: int
    limit: int | None = None
    peak: int = 0
    """The most bytes that it was measured to take."""
    free: float = 1.0
    """The smallest share of the machine's memory that was seen free."""
    over: bool = False
    """Whether it went over its limit."""
    shortages: int = 0
    """At how many looks in a row a Mac was short of memory: its pressure critical, or high while it swaps."""
    swap_before: int = field(default_factory=lambda: measure_swap())
    """The bytes that a Mac had swapped out before the worker started."""
    swapped: int = 0
    """The bytes that it has swapped out since."""
    was_critical: bool = False
    """Whether it ever did."""
    crowds: bool = False
    """Whether it held most of a Mac's memory while the Mac was short of it."""
    kills_before: int = field(default_factory=lambda: count_kills())
    """How many processes the system had killed for want of memory before the worker started."""
    has_ranks: bool = False
    """Whether ranks of its job may be among its children: what they take counts too."""
    timing: Timing = USUAL
    _last_look: float = float("-inf")

    def look(self) -> None:
        """Measure the worker's memory and the machine's free memory, once in `timing.memory_look` seconds."""
        now = time.monotonic()
        if now - self._last_look < self.timing.memory_look:
            return
        self._last_look = now
        try:
            process = psutil.Process(self.pid)
            used = private_bytes(process) + (_count_children(process) if self.has_ranks else 0)
        except psutil.Error:
            return
        machine = psutil.virtual_memory()
        self.peak = max(self.peak, used)
        self.free = min(self.free, machine.available / machine.total)
        self.over = self.over or (self.limit is not None and used > self.limit)
        self._look_for_shortage()
        self.crowds = self.crowds or (self.shortages >= LOOKS and used > LARGE * machine.total)

    def _look_for_shortage(self) -> None:
        """Count a look at which a Mac is short of memory; another system's kills tell it."""
        pressure = read_pressure()
        if not pressure:
            self.shortages = 0
            return
        self.swapped = max(self.swapped, measure_swap() - self.swap_before)
        self.was_critical = self.was_critical or pressure == CRITICAL
        self.shortages = self.shortages + 1 if pressure == CRITICAL or self.swapped > SWAPPED else 0

    @property
    def must_stop(self) -> bool:
        """Say whether the worker is to save its state and end, to go on with less: before a Mac swaps until it kills somebody."""
        return self.over or self.crowds

    @property
    def is_far_over(self) -> bool:
        """Say whether it is so far over its limit that it gets no time to save its state."""
        return self.limit is not None and self.peak > 1.25 * self.limit

    @property
    def _who(self) -> str:
        return "a rank" if self.has_ranks else "the worker"

    def verdict(self, returncode: int, log_tail: str) -> str | None:
        """Say in words how memory ended the worker, or may have; None where it did not."""
        takers = "its ranks here took" if self.has_ranks else "it took"
        usage = f"{takers} {format_size(self.peak)} at most, as far as was seen"
        if returncode == -signal.SIGKILL and count_kills() > self.kills_before:
            return f"the system ran out of memory and killed {self._who}; {usage}"
        if returncode == -signal.SIGKILL and self.free < LOW:
            return f"{self._who} was killed, probably for want of memory ({self.free:.1%} of it was free); {usage}"
        if returncode == -signal.SIGKILL and self.was_critical:
            return f"{self._who} was killed, probably for want of memory (macOS called its pressure critical); {usage}"
        if returncode and (match := OUT_OF_MEMORY.search(log_tail)):
            return f"{self._who} ran out of memory ({match.group()}); {usage}"
        return None


def _count_children(process: psutil.Process) -> int:
    """Count the bytes that a process's children take. Raises psutil.Error where it has ended."""
    total = 0
    for child in process.children(recursive=True):
        with suppress(psutil.Error):  # it has ended meanwhile
            total += private_bytes(child)
    return total
