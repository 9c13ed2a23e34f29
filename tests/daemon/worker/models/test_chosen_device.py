"""A worker computes on the device that the daemon's settings name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import pytest

from prefd.daemon.errors import WorkerExit
from prefd.daemon.home.handed_settings import VARIABLE, HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.worker import __main__ as worker
from prefd.daemon.worker.models.chosen_device import NoGPU, set_device
from prefd.daemon.worker.models.device import describe_machine
from prefd.daemon.worker.models.loading import device


@pytest.fixture(autouse=True)
def _usual_device() -> Iterator[None]:
    usual = mx.default_device()
    yield
    mx.set_default_device(usual)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What MLX is told to compute on; a GPU is there."""
    calls: list[object] = []
    monkeypatch.setattr(mx, "set_default_device", calls.append)
    monkeypatch.setattr(mx, "is_available", lambda _: True)
    return calls


def test_the_choice_is_made_in_mlx(calls: list[object]):
    set_device("auto")
    assert calls == []
    set_device("cpu")
    set_device("gpu")
    assert calls == [mx.cpu, mx.gpu]


def test_a_gpu_that_is_not_there_is_told_with_its_setting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mx, "is_available", lambda _: False)
    with pytest.raises(NoGPU, match=r'worker.device is "gpu" in config.toml.*set it to "auto" or "cpu"'):
        set_device("gpu")


def test_the_settings_of_the_home_decide_or_those_that_the_daemon_hands_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[object]
):
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "config.toml").write_text('[worker]\ndevice = "cpu"\n')
    worker.choose_device(Home(tmp_path).root)
    assert calls == [mx.cpu]
    monkeypatch.setenv(VARIABLE, HandedSettings(device="gpu").environment()[VARIABLE])
    worker.choose_device(Home(tmp_path).root)
    assert calls == [mx.cpu, mx.gpu]


def test_what_is_computed_on_is_in_the_report():
    set_device("cpu")
    assert device() == "cpu"
    assert describe_machine().startswith("cpu ")


def test_a_worker_without_the_gpu_that_is_asked_for_says_so_and_blames_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(mx, "is_available", lambda _: False)
    monkeypatch.setenv(VARIABLE, HandedSettings(device="gpu").environment()[VARIABLE])
    with caplog.at_level("ERROR"):
        assert worker.main(["training", "--home", str(tmp_path), "--job", "1"]) == WorkerExit.NO_DEVICE
    assert caplog.records[-1].getMessage().startswith('worker.device is "gpu" in config.toml')
