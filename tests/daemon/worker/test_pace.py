"""The rests that leave a share of the GPU to whoever sits at the machine."""

import threading

import pytest

from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.worker import pace
from prefd.daemon.worker.pace import Pace


@pytest.fixture
def slept() -> list[float]:
    return []


def test_a_rest_makes_the_work_its_share_of_the_time(slept: list[float]) -> None:
    Pace(25, slept.append).rest(2.0)
    assert sum(slept) == pytest.approx(6.0)
    assert max(slept) <= pace.LOOK_SECONDS


def test_there_is_none_at_the_whole_share_nor_while_the_display_is_off(
    slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    Pace(100, slept.append).rest(2.0)
    monkeypatch.setattr(pace, "is_display_on", lambda: False)
    Pace(25, slept.append).rest(2.0)
    assert slept == []


def test_a_stop_ends_the_rest() -> None:
    stop = threading.Event()
    Pace(5, lambda _: stop.set()).rest(600.0, stop)
    assert stop.is_set()


def test_a_worker_on_a_gpu_has_the_setting_and_one_on_a_cpu_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WorkerLimits(gpu_share=60).environment(1).items():
        monkeypatch.setenv(name, value)
    assert Pace.from_environment("gpu").share == 60
    assert Pace.from_environment("cpu").share == 100
    assert WorkerLimits().environment(1) == {}
