"""Counts the ranks that a job has, and gives those of this machine their cores. It runs before anything imports MLX."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Literal

from prefd.daemon.home.hosts import Host
from prefd.daemon.machine.cpus import CPUS, THREADS, usable_cpus
from prefd.daemon.worker.errors import JobError

RANK, RANKS, RANKS_HERE = "PREFD_RANK", "PREFD_RANKS", "PREFD_RANKS_HERE"
"""What a rank finds in its environment: which one it is, how many there are, and how many of them share its machine."""
GPU_WHEELS = ("mlx-cuda", "mlx-cuda-12", "mlx-cuda-13")


def count_ranks(wanted: int | Literal["all"], device: str, cores: int, hosts: Sequence[Host] = ()) -> int:
    """Count the ranks of a job that wants so many; `all` is one for each host, and without hosts one for each core of a CPU, or one on a GPU.

    `device`: what the settings have jobs compute on: auto, cpu or gpu. Raises JobError where there are hosts, and fewer than ranks.
    """
    if wanted == "all":
        return len(hosts) or (1 if is_gpu_likely(device) else cores)
    if hosts and wanted > len(hosts):
        raise JobError(
            f"ranks: {wanted}, and [distributed] in config.toml lists {len(hosts)} hosts, one for each rank; take ranks: {len(hosts)}, "
            "or list a host twice that is to have two"
        )
    return wanted


def is_gpu_likely(device: str) -> bool:
    """Say whether MLX will compute on a GPU, without importing it."""
    if device != "auto":
        return device == "gpu"
    return sys.platform == "darwin" or any(map(is_installed, GPU_WHEELS))


def is_installed(name: str) -> bool:
    """Say whether there is a distribution of this name; no other's metadata is read."""
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def share_cores(numbers: Sequence[int], ranks: int) -> list[Mapping[str, str]]:
    """Share the cores of this machine out among the ranks of these `numbers`, of so many in all: for each, the variables that keep it to its own.

    Where there are fewer cores than ranks, each rank has one thread on whichever core is free.
    """
    cores, here = usable_cpus(), len(numbers)
    shares = [cores[index::here] for index in range(here)] if len(cores) >= here else [cores] * here
    threads = max(1, len(cores) // here)
    return [
        {
            CPUS: ",".join(map(str, share)),
            RANK: str(number),
            RANKS: str(ranks),
            RANKS_HERE: str(here),
            **dict.fromkeys(THREADS, str(threads)),
        }
        for number, share in zip(numbers, shares, strict=True)
    ]


def read_ranks() -> int:
    """Return how many ranks the job has that this process is one of."""
    return int(os.environ.get(RANKS, "1"))


def read_ranks_here() -> int:
    """Return how many of them share this machine."""
    return int(os.environ.get(RANKS_HERE, "1"))
