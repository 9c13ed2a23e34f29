"""The bounds that a worker sets to what MLX takes of a GPU."""

from types import SimpleNamespace

import pytest

from prefd.daemon.worker.models import memory
from prefd.daemon.worker.models.memory import GIB, bound_device_memory


@pytest.mark.parametrize(("parallel", "cache", "arrays", "wired"), [(1, 2, 36, 32), (2, 1, 18, 16)])
def test_buffers_arrays_and_what_stays_resident_are_bounded_and_shared(
    monkeypatch: pytest.MonkeyPatch, parallel: int, cache: int, arrays: int, wired: int
) -> None:
    limits: dict[str, int] = {}
    names = ("set_cache_limit", "set_memory_limit", "set_wired_limit")
    gpu = {name: lambda size, name=name: limits.update({name: size}) for name in names}
    fake = SimpleNamespace(
        **gpu, cpu="cpu", default_device=lambda: "gpu", metal=SimpleNamespace(is_available=lambda: True)
    )
    monkeypatch.setattr(memory, "mx", fake)
    monkeypatch.setattr(memory, "machine", lambda: (40 * GIB, 0))
    bound_device_memory(parallel)
    assert [limits[name] // GIB for name in names] == [cache, arrays, wired]


@pytest.mark.parametrize(
    ("system", "info", "free"),
    [
        ("linux", {"total_memory": 40 * GIB, "free_memory": 7 * GIB}, 7),
        ("linux", {"total_memory": 40 * GIB}, 40),
        ("darwin", {"max_recommended_working_set_size": 40 * GIB, "memory_size": 64 * GIB}, 5),
    ],
)
def test_what_is_free_is_what_other_programs_leave(
    monkeypatch: pytest.MonkeyPatch, system: str, info: dict[str, int], free: int
) -> None:
    fake = SimpleNamespace(cpu="cpu", default_device=lambda: "gpu", device_info=lambda: info)
    monkeypatch.setattr(memory, "mx", fake)
    monkeypatch.setattr(memory, "sys", SimpleNamespace(platform=system))
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(total=64 * GIB, available=5 * GIB))
    assert memory.machine() == (40 * GIB, free * GIB)
