"""Prepares a worker's process: its log, its limits, and what MLX reads before it is imported."""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
from collections.abc import Iterator

from prefd.daemon.machine import blas, cpus, mlx_environment, open_files


def prepare_process(rank: str = "") -> None:
    """Prepare this process, which has no thread yet, for its task; `rank` begins each line of its log."""
    prepare_log(rank)
    cpus.apply_limits()
    open_files.raise_limit()


def prepare_log(rank: str = "") -> None:
    """Have messages of this process written to its standard error; `rank` begins each."""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s %(levelname)s {rank}%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def prepare_mlx(halvings: int = 0) -> None:
    """Prepare for MLX, before anything imports it."""
    mlx_environment.prepare(halvings)
    blas.preload()


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage while modules are imported, which is a tenth of that time: they make hundreds of thousands of objects that stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
