"""Counts the ranks that a job has on this machine, and gives each its cores. It runs before anything imports MLX."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Literal

from prefd.daemon.machine.cpus import CPUS, THREADS, keep_to_cores, usable_cpus

RANK, RANKS, SHARES = "PREFD_RANK", "PREFD_RANKS", "PREFD_RANK_SHARES"
"""What a rank finds in its environment: which one it is, and how many there are; the first, what each has."""
GPU_WHEELS = ("mlx-cuda", "mlx-cuda-12", "mlx-cuda-13")


def count_ranks(wanted: int | Literal["all"], device: str, cores: int) -> int:
    """Count the ranks of a job that wants so many; `all` is one for each core of a CPU, and one on a GPU.

    `device`: what the settings have jobs compute on: auto, cpu or gpu.
    """
    if wanted != "all":
        return wanted
    return 1 if is_gpu_likely(device) else cores


def is_gpu_likely(device: str) -> bool:
    """Say whether MLX will compute on a GPU, without importing it."""
    if device != "auto":
        return device == "gpu"
    if sys.platform == "darwin":
        return True
    installed = {each.metadata["Name"] for each in metadata.distributions() if each.metadata["Name"] in GPU_WHEELS}
    return bool(installed)


def share_cores(ranks: int) -> list[Mapping[str, str]]:
    """Share the cores that this process may use out: for each rank, the variables that keep it to its own.

    Where there are fewer cores than ranks, each rank has one thread on whichever core is free.
    """
    cores = usable_cpus()
    shares = [cores[rank::ranks] for rank in range(ranks)] if len(cores) >= ranks else [cores] * ranks
    threads = max(1, len(cores) // ranks)
    return [
        {CPUS: ",".join(map(str, share)), RANK: str(rank), RANKS: str(ranks), **dict.fromkeys(THREADS, str(threads))}
        for rank, share in enumerate(shares)
    ]


def begin_ranks(ranks: int) -> None:
    """Make this process, which has no thread yet, the first of so many ranks: it keeps to its own cores, and the environment has the others'."""
    if ranks > 1:
        shares = share_cores(ranks)
        os.environ.update({SHARES: json.dumps(shares), **shares[0]})
        keep_to_cores()


def read_ranks() -> int:
    """Return how many ranks the job has that this process is one of."""
    return int(os.environ.get(RANKS, "1"))


def read_shares() -> list[Mapping[str, str]]:
    """Return what each rank has in its environment."""
    shares: list[Mapping[str, str]] = json.loads(os.environ[SHARES])
    return shares
