"""What is told of the machine's power, where the system tells it, and how a machine is kept awake."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from prefd.daemon.machine import power


def have_battery(monkeypatch: pytest.MonkeyPatch, percent: float, plugged: bool | None) -> None:
    battery = SimpleNamespace(percent=percent, power_plugged=plugged)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)


@pytest.mark.parametrize(
    ("floor", "percent", "plugged", "low"),
    [
        (0, 3, False, False),
        (40, 39, False, True),
        (40, 40, False, False),
        (40, 3, True, False),
        (40, 3, None, False),
        (100, 100, False, True),
        (100, 100, True, False),
    ],
)
def test_a_battery_is_low_below_the_floor_and_not_on_the_mains(
    monkeypatch: pytest.MonkeyPatch, floor: int, percent: float, plugged: bool | None, low: bool
) -> None:
    have_battery(monkeypatch, percent, plugged)
    assert (power.describe_low_battery(floor) is not None) == low


def test_a_machine_without_a_battery_is_never_low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None, raising=False)
    assert power.read_battery() is None
    assert power.describe_low_battery(100) is None


def test_slept_time_is_what_one_clock_has_more_than_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = {power.CLOCK_MONOTONIC_RAW: 5000.0, power.CLOCK_UPTIME_RAW: 1400.0}
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(time, "clock_gettime", clocks.__getitem__)
    assert power.read_slept_seconds() == 3600.0


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="Linux's clock")
def test_linux_tells_slept_time_too() -> None:
    assert (power.read_slept_seconds() or 0.0) >= 0


@pytest.mark.parametrize(
    ("printed", "low"),
    [
        ("Currently in use:\n standby              1\n lowpowermode         1\n sleep                1\n", True),
        ("Currently in use:\n lowpowermode         0\n", False),
        ("Currently in use:\n powermode            1\n", True),
        ("Currently in use:\n powermode            2\n", False),
        ("Currently in use:\n sleep                1\n", None),
    ],
)
def test_low_power_mode_is_read_from_pmset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, low: bool | None
) -> None:
    program = tmp_path / "pmset"
    program.write_text(f"#!/bin/sh\n[ \"$1\" = -g ] && cat <<'END'\n{printed}END\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(power, "PMSET", program)
    assert power.is_low_power() is low
    monkeypatch.setattr(power, "PMSET", tmp_path / "none")
    assert power.is_low_power() is None


def test_a_mac_is_kept_awake_and_its_display_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(power, "CAFFEINATE", tmp_path / "caffeinate")
    assert power.list_keepers(7) == []
    assert power.describe_keeping() == "not kept awake: nothing here can"
    (tmp_path / "caffeinate").touch()
    assert power.list_keepers(7) == [[str(tmp_path / "caffeinate"), "-i", "-w", "7"]]
    assert power.describe_keeping() == "kept awake by caffeinate while a job runs"


def test_linux_is_kept_awake_by_systemd_where_it_is_at_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(power.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(power, "SYSTEMD_RUNS", tmp_path / "none")
    assert power.list_keepers(7) == []
    monkeypatch.setattr(power, "SYSTEMD_RUNS", tmp_path)
    first, second = power.list_keepers(7)
    assert first[:2] == ["/usr/bin/systemd-inhibit", "--what=sleep:idle"]
    assert second[1] == "--what=idle", "which needs no right"
    assert first[-4:] == ["/usr/bin/tail", "--pid=7", "-f", "/dev/null"]


def test_a_process_without_a_daemon_keeps_its_machine_awake_by_the_first_command_that_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands = [str(tmp_path / "none"), "false", "true", "false"]
    monkeypatch.setattr(
        power,
        "list_keepers",
        lambda pid: [[sys.executable, "-c", f"open({str(tmp_path / 'pid')!r}, 'w').write('{pid}')"]],
    )
    power.keep_awake_from_here().join(60)
    assert (tmp_path / "pid").read_text() == str(os.getpid())
    monkeypatch.setattr(power, "list_keepers", lambda pid: [[each] for each in commands])
    ran: list[str] = []
    real = subprocess.run

    def run(command: list[str], **more: Any) -> Any:
        ran.append(command[0])
        return real(command, **more)

    monkeypatch.setattr(power.subprocess, "run", run)
    power.keep_awake_from_here().join(60)
    assert ran == commands[:3]
