"""Says which types a job computes in on this device, and how large a random model may be there."""

from __future__ import annotations

import mlx.core as mx

from prefd.daemon.worker.selftest.random_models import SMALL, TINY, Size

HALF = ("bfloat16", "float16")


def is_gpu() -> bool:
    """Say whether MLX computes on a GPU here."""
    return bool(mx.default_device() == mx.gpu)


def choose_size(dtype: str) -> Size:
    """Choose the size of a random model: what is not float32 is slow on a CPU, and gets the smallest."""
    return TINY if dtype != "float32" and not is_gpu() else SMALL


def choose_half() -> str:
    """Choose the type that most models are stored in, where a job computes in it; on a CPU float32."""
    return "bfloat16" if is_gpu() else "float32"


def find_compute_dtype(dtype: str) -> str:
    """Return the type that a model of `dtype` computes in: a quantized one's is the device's usual type."""
    return choose_half() if dtype == "4-bit" else dtype


def list_job_dtypes() -> tuple[str, ...]:
    """List the types that jobs compute in on this device; on a CPU everything is float32."""
    return ("float32", "bfloat16", "float16") if is_gpu() else ("float32",)
