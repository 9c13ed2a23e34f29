"""Other ranks of this machine are started with the first one: they import what they need while that one reads the job's data.

They wait for what the first tells them, and end with it, as every rank does; a phase that needs ranks takes those that are there.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from prefd.daemon.worker.ranks.seats import Seat
from prefd.daemon.worker.ranks.ssh import start_here

_waiting: dict[int, subprocess.Popen[bytes]] = {}
"""Those that no phase has taken yet, by their rank."""


def start_early(seats: Sequence[Seat], home: Path, job_id: int) -> None:
    """Start the ranks of a job that are on this machine, but for this process. Raises OSError."""
    for seat in seats[1:]:
        if seat.here:
            _waiting[seat.rank] = start_here(seat, home, job_id)


def take_rank(seat: Seat, home: Path, job_id: int) -> subprocess.Popen[bytes]:
    """Return a rank that was started early, or start one where none is there any more. Raises OSError."""
    early = _waiting.pop(seat.rank, None)
    if early is not None and early.poll() is None:
        return early
    return start_here(seat, home, job_id)
