"""What a job's report says of the machine that it ran on."""

import platform
from types import SimpleNamespace

import psutil
import pytest

from prefd.daemon.worker.models import device


def test_a_report_names_device_memory_system_swap_and_pressure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.mx, "device_info", lambda: {"device_name": "Apple M2"})
    monkeypatch.setattr(device, "device", lambda: "gpu")
    monkeypatch.setattr(device, "machine", lambda: (11.5 * 2**30, 0))
    monkeypatch.setattr(platform, "mac_ver", lambda: ("15.1", ("", "", ""), "arm64"))
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(used=3 * 2**30))
    monkeypatch.setattr(device, "read_pressure", lambda: "high")
    assert device.describe_machine() == (
        "gpu Apple M2, 11.5 GiB, macOS 15.1, 3.0 GiB swapped out when it ended, memory pressure high"
    )
