"""What MLX may take of a GPU's memory is bounded once, and shared by the jobs that run beside each other."""

from __future__ import annotations

import mlx.core as mx
import pytest

from prefd.daemon.worker.models import memory
from prefd.daemon.worker.models.memory import GIB, bound_device_memory

TOTAL = 100 * GIB


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The limits that MLX is given; this is a Mac with a GPU."""
    limits: dict[str, int] = {}
    for name in ("cache", "memory", "wired"):
        monkeypatch.setattr(mx, f"set_{name}_limit", lambda size, name=name: limits.__setitem__(name, size))
    monkeypatch.setattr(memory, "machine", lambda: (TOTAL, TOTAL))
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    return limits


@pytest.mark.parametrize("parallel", [1, 4])
def test_buffers_arrays_and_what_is_wired_are_bounded(limits: dict[str, int], parallel: int):
    bound_device_memory(parallel)
    assert limits == {
        "cache": 2 * GIB // parallel,
        "memory": int(0.9 * TOTAL / parallel),
        "wired": int(0.8 * TOTAL / parallel),
    }


def test_a_small_mac_keeps_a_tenth_of_its_memory_in_buffers(limits: dict[str, int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "machine", lambda: (8 * GIB, GIB))
    bound_device_memory()
    assert limits["cache"] == 8 * GIB // 10


def test_nothing_is_wired_on_cuda(limits: dict[str, int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mx.metal, "is_available", lambda: False)
    bound_device_memory()
    assert sorted(limits) == ["cache", "memory"]


def test_a_cpu_needs_no_bound(limits: dict[str, int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mx, "default_device", lambda: mx.cpu)
    bound_device_memory()
    assert limits == {}
