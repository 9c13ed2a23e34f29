"""Whether a worker ended for want of memory: what it took, what was free, and what the system counted."""

from __future__ import annotations

import re
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from prefd.daemon.cgroups import memory_groups
from prefd.daemon.training_spec import TrainingSpec

LOOK_SECONDS = 1.0
LOW = 0.05
"""Of the machine's memory: with less free, a SIGKILL that nobody sent is probably the system's."""
SAID = re.compile(
    r"MemoryError|std::bad_alloc|unable to allocate|attempting to allocate|Cannot allocate memory|Insufficient Memory"
    r"|out of memory|OutOfMemory",
    re.IGNORECASE,
)
"""What Python, C++, MLX on a CPU, Metal and CUDA say when there is none left."""


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
    _looked: float = float("-inf")

    def look(self) -> None:
        """Now and then: how much it takes, and what is left."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
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
        if returncode and (found := SAID.search(log_tail)):
            return f"the worker ran out of memory ({found.group()}); {took}"
        return None


def private_bytes(process: psutil.Process) -> int:
    """What the process has of its own. On Linux files that are only mapped are left out: they make room by themselves."""
    memory = process.memory_info()
    return int(memory.rss - memory.shared if sys.platform == "linux" else memory.rss)


def kills() -> int:
    """Processes that the system, or this process's own group, has killed for want of memory. 0 where nobody counts."""
    return sum(_count(path, "oom_kill") for path in _counters())


def _counters() -> list[Path]:
    return [Path("/proc/vmstat"), *(groups[0].events for groups in memory_groups())]


def _count(path: Path, name: str) -> int:
    try:
        counts = dict(line.split() for line in path.read_text().splitlines())
        return int(counts.get(name, 0))
    except (OSError, ValueError):
        return 0


def remedy(training: TrainingSpec) -> str:
    """The settings that make a job smaller, the ones that are not used yet."""
    ways = []
    if not training.grad_checkpoint:
        ways.append("training.grad_checkpoint: true (a quarter of the batch's)")
    ways.append("a smaller data.max_length, training.batch_tokens or training.chunk_tokens")
    if training.fine_tune == "full":
        ways.append("training.fine_tune: lora")
    elif training.quantize is None:
        ways.append("training.quantize: {bits: 4}")
    return "; ".join(ways)
