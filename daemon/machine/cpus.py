"""`apply_limits` keeps a worker to the processor cores and the niceness that its environment names."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

CPUS, NICE, GPU_SHARE = "PREFD_WORKER_CPUS", "PREFD_WORKER_NICE", "PREFD_WORKER_GPU_SHARE"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "ARROW_NUM_THREADS")
"""The variables that tell a worker's libraries how many threads to have."""


def usable_cpus() -> list[int]:
    """List the cores that this process may run on."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def apply_limits() -> None:
    """Keeps this process, a worker that has no thread yet, to the cores and the niceness that its environment says."""
    keep_to_cores()
    if nice := os.environ.get(NICE):
        os.nice(int(nice))


def keep_to_cores() -> None:
    """Keep this process, which has no thread yet, to the cores that its environment says."""
    cores = os.environ.get(CPUS)
    if cores and sys.platform == "linux":  # macOS has no affinity: the number of threads is what limits there
        with suppress(OSError):
            os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
