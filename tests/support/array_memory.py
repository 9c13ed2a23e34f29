"""What arrays hold in this process, beside what other tests have left in it."""

from __future__ import annotations

import gc

import mlx.core as mx


def count_held_bytes() -> int:
    """The bytes of all arrays that something still refers to: what is garbage by now is not freed amid a measurement."""
    gc.collect()
    mx.clear_cache()
    return int(mx.get_active_memory())
