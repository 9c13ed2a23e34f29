"""Tells errors of the device, its memory among them, from those of what runs on it."""

from __future__ import annotations

from prefd.daemon.machine.device_trouble import has_device_trouble
from prefd.daemon.machine.memory import OUT_OF_MEMORY


def raise_if_device_failed(error: BaseException) -> None:
    """Raise `error` again if it says that memory ran out or that the device is in trouble.

    Code that takes any other error for an answer, such as "this architecture has no trunk", calls this first.
    """
    if is_out_of_memory(error) or is_device_trouble(error):
        raise error


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether `error` says that there is no memory left, in the words of Python, MLX, Metal or CUDA."""
    return _is_of_device(error) and OUT_OF_MEMORY.search(_write(error)) is not None


def is_device_trouble(error: BaseException) -> bool:
    """Say whether `error` is a GPU's that passes by itself."""
    return _is_of_device(error) and has_device_trouble(_write(error))


def _is_of_device(error: BaseException) -> bool:
    """Say whether `error` is of a class that MLX and Python raise for it: a job's own errors may quote anything."""
    return isinstance(error, MemoryError | RuntimeError)


def _write(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
