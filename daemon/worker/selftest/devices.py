"""Says which types a job computes in on this device, and how large a random model may be there."""

from __future__ import annotations

import mlx.core as mx

from prefd.daemon.worker.selftest.random_models import SMALL, TINY, Size

HALF = ("bfloat16", "float16")


def is_gpu() -> bool:
    """Whether MLX computes on a GPU here."""
    return bool(mx.default_device() == mx.gpu)


def choose_size(dtype: str) -> Size:
    """Choose the size of a random model: half precision on a CPU is some 40 times slower, and gets the smallest."""
    return TINY if dtype in HALF and not is_gpu() else SMALL


def list_job_dtypes() -> tuple[str, ...]:
    """List the types that jobs compute in on this device; on a CPU everything is float32."""
    return ("float32", "bfloat16", "float16") if is_gpu() else ("float32",)
