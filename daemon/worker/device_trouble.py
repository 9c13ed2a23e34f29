"""Tells errors of the device, its memory among them, from those of what runs on it."""

from __future__ import annotations

import re

from prefd.daemon.errors import WorkerExit
from prefd.daemon.machine.device_trouble import has_device_trouble
from prefd.daemon.machine.memory import OUT_OF_MEMORY
from prefd.plugins.errors import describe_exception

OF_A_RANK = re.compile(r"failed: (?:RuntimeError|MemoryError)\b")
"""How a rank says that an error of MLX's or Python's ended it, and not one of its job's own, which may quote anything."""


def raise_if_device_failed(error: BaseException) -> None:
    """Raise `error` again if it says that memory ran out or that the device is in trouble.

    Code that takes any other error for an answer, such as "this architecture has no trunk", calls this first.
    """
    if is_out_of_memory(error) or is_device_trouble(error):
        raise error


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether `error` says that there is no memory left, in the words of Python, MLX, Metal or CUDA."""
    return _is_of_device(error) and OUT_OF_MEMORY.search(describe_exception(error)) is not None


def is_device_trouble(error: BaseException) -> bool:
    """Say whether `error` is a GPU's that passes by itself."""
    return _is_of_device(error) and has_device_trouble(describe_exception(error))


def find_rank_trouble(words: str) -> WorkerExit | None:
    """Find what ended another rank, by the words in which it said so: memory that ran out, or a device's trouble; None for neither."""
    match = OF_A_RANK.search(words)
    if match is None:
        return None
    if OUT_OF_MEMORY.search(words, match.start()):
        return WorkerExit.NO_MEMORY
    return WorkerExit.DEVICE_TROUBLE if has_device_trouble(words[match.start() :]) else None


def _is_of_device(error: BaseException) -> bool:
    """Say whether `error` is of a class that MLX and Python raise for it: a job's own errors may quote anything."""
    return isinstance(error, MemoryError | RuntimeError)
