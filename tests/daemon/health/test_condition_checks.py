"""What `prefd doctor` tells of the machine's power, heat and memory, by stand-ins for what a Mac says."""

import pytest

from prefd.daemon.health import condition_checks
from prefd.daemon.home.layout import Home
from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.machine.power import Battery


def test_what_the_machines_power_does_to_jobs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condition_checks, "read_battery", lambda: Battery(63.0, False))
    monkeypatch.setattr(condition_checks, "read_thermal_pressure", lambda: None)
    monkeypatch.setattr(condition_checks, "read_slept_seconds", lambda: None)
    limits = WorkerLimits(prevent_sleep=False, on_battery=40, pause_on_heat=True)
    assert condition_checks.describe_power(limits) == (
        "not kept awake: worker.prevent_sleep is false; a battery at 63 %: jobs wait below 40 % (worker.on_battery); "
        "the system does not tell whether heat slows it, so worker.pause_on_heat does nothing here; "
        "the system does not tell for how long it slept"
    )


def test_low_power_mode_heat_and_memory_pressure_are_warned_of(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(condition_checks, "is_low_power", lambda: True)
    monkeypatch.setattr(condition_checks, "read_thermal_pressure", lambda: "heavy")
    monkeypatch.setattr(condition_checks, "read_pressure", lambda: "critical")
    findings = [*condition_checks.check_power(ready_home), *condition_checks.check_memory(ready_home)]
    assert [finding.level for finding in findings] == ["ok", "warn", "warn", "warn"]
    assert "thermal pressure heavy" in findings[0].detail
    assert findings[1].detail.startswith("Low Power Mode is on")
    assert findings[3].detail.endswith("macOS calls the memory pressure critical")
    assert all(finding.remedy for finding in findings[1:])


def test_a_machine_in_good_condition_has_nothing_to_be_warned_of(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(condition_checks, "is_low_power", lambda: False)
    monkeypatch.setattr(condition_checks, "read_thermal_pressure", lambda: "")
    monkeypatch.setattr(condition_checks, "read_pressure", lambda: "")
    power, memory = (*condition_checks.check_power(ready_home), *condition_checks.check_memory(ready_home))
    assert (power.level, memory.level) == ("ok", "ok")
    assert "thermal pressure none" in power.detail
    assert memory.detail.endswith("; no memory pressure")
