"""Pace leaves a share of the GPU to the user who sits at the machine: after each batch a worker rests, while a display is on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from prefd.daemon.machine.cpus import GPU_SHARE
from prefd.daemon.machine.display import is_display_on
from prefd.daemon.worker.stopping import StopEvent

LOOK_SECONDS = 0.1
"""How long a rest goes on before a stop is looked for again."""


@dataclass(frozen=True)
class Pace:
    """Pace is the share of the time, in percent, that a worker computes in. `sleep` is how it waits."""

    share: int = 100
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def from_environment(cls, device: str) -> Pace:
        """Return the pace that the daemon has set for this worker; on a "cpu" it is always the whole, for there `nice` is the means."""
        return cls(int(os.environ.get(GPU_SHARE, "100")) if device == "gpu" else 100)

    def rest(self, seconds: float, stop: StopEvent | None = None) -> None:
        """Rest after `seconds` of computing, for as long as makes them this share of the time; a stop ends the rest."""
        if self.share >= 100 or not is_display_on():
            return
        remaining = seconds * (100 - self.share) / self.share
        while remaining > 0 and not (stop is not None and stop.is_set()):
            self.sleep(min(remaining, LOOK_SECONDS))
            remaining -= LOOK_SECONDS
