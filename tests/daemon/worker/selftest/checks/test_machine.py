"""The machine is described, and a Python that is no right one for it fails."""

from __future__ import annotations

import platform
import sys

import pytest

from prefd.daemon.machine import mlx_environment
from prefd.daemon.worker.selftest.checks import machine


@pytest.fixture(autouse=True)
def without_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(mlx_environment.TF32, raising=False)


def test_the_machine_is_described() -> None:
    result = machine.check(None)
    assert result.outcome == "ok", result.finding
    assert result.numbers["device"] in ("cpu", "gpu")
    assert f"mlx {result.numbers['mlx']}" in result.finding


def test_an_intel_python_on_a_mac_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    fault = machine.find_fault()
    assert fault is not None
    assert "Intel" in fault[0]
    assert "arm64" in fault[1]


def test_tf32_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mlx_environment.TF32, "1")
    result = machine.check(None)
    assert result.outcome == "failed"
    assert result.finding.startswith("TF32 is on")
    assert result.remedy == "unset MLX_ENABLE_TF32"
