"""Counts the bytes that a model's arrays take, and those that this machine has."""

from __future__ import annotations

import ctypes
import gc
import itertools
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlx.core as mx
import psutil
from mlx import nn
from mlx.utils import tree_flatten

from prefd.daemon.machine.cgroups import OWN, ROOT, memory_groups
from prefd.daemon.worker.errors import JobError

GIB = 2**30


def format_gib(size: int) -> str:
    """Write `size` bytes in GiB."""
    return f"{size / GIB:.1f} GiB"


def count_bytes(tree: Any) -> int:
    """Add up the bytes of all arrays in a tree of parameters."""
    leaves: Any = tree_flatten(tree)
    return sum(leaf.nbytes for _, leaf in leaves)


def count_numbers(tree: Any) -> int:
    """Count the numbers in all arrays of a tree of parameters."""
    leaves: Any = tree_flatten(tree)
    return sum(leaf.size for _, leaf in leaves)


def machine() -> tuple[int, int]:
    """Measure the bytes that the device has in all, and those that are free now."""
    if mx.default_device() == mx.cpu:
        memory = psutil.virtual_memory()
        total = min([memory.total, *list_container_limits()])
        return total, min(memory.available, total)
    info = mx.device_info()
    names = ("max_recommended_working_set_size", "total_memory", "memory_size")
    total = next((int(info[name]) for name in names if info.get(name)), psutil.virtual_memory().total)
    if sys.platform == "darwin":
        return total, min(total, psutil.virtual_memory().available)
    return total, min(total, int(info.get("free_memory", total)))  # CUDA's, of which other programs have the rest


def bound_device_memory(parallel: int = 1) -> None:
    """Bound what MLX takes of a GPU's memory in this process; `parallel` such processes share it. A CPU needs no bound.

    MLX keeps freed buffers for arrays of the same size, and shapes change with every step: unbounded, a small job drifts
    towards all of a Mac's memory, wired. The bounds are a tenth of memory, at most 2 GiB, for such buffers, 0.9 for
    arrays, beyond which MLX waits for the GPU, and 0.8 that stay resident on a Mac.
    """
    if mx.default_device() == mx.cpu:
        return
    total, _ = machine()
    mx.set_cache_limit(min(total // 10, 2 * GIB) // parallel)
    mx.set_memory_limit(int(0.9 * total / parallel))
    if mx.metal.is_available():
        mx.set_wired_limit(int(0.8 * total / parallel))


def release_arrays() -> None:
    """Give back the memory of all arrays that nothing uses any more, and count the peak from here on."""
    gc.collect()  # a model's modules refer to each other in circles
    mx.clear_cache()
    mx.reset_peak_memory()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # a C library without it, such as musl
            ctypes.CDLL(None).malloc_trim(0)


def list_container_limits(root: Path = ROOT, own: Path = OWN) -> list[int]:
    """List the memory limits, in bytes, of the control groups that this process is in."""
    limits = []
    for group in itertools.chain.from_iterable(memory_groups(root, own)):
        with suppress(OSError, ValueError):  # no such file at the root, and `max` where there is no limit
            limits.append(int(group.limit.read_text()))
    return limits


def describe_size(weights: int, name: str) -> str:
    """Say how large the weights of the model `name` are, and how much memory there is."""
    return f"the weights of {name} take {format_gib(weights)}; this machine has {format_gib(machine()[0])} in all"


def check_weights(model: nn.Module, name: str) -> None:
    """Check that the weights of the model `name`, not read yet, fit into memory, or raise `JobError`."""
    weights = count_bytes(model.parameters())
    if weights > machine()[0]:
        raise JobError(
            f"{describe_size(weights, name)}. Name a smaller reference, or "
            "score on a larger machine and bring the cache here (`prefd cache export`, or cache_url)"
        )
