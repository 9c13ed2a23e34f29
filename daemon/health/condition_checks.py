"""Checks the machine's condition: what its power, its heat and its memory do to jobs now, and what it does not tell of them."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from prefd.daemon.health.finding import HealthFinding
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, ConfigError
from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.machine.heat import read_thermal_pressure
from prefd.daemon.machine.memory import read_pressure
from prefd.daemon.machine.power import describe_keeping, is_low_power, read_battery, read_slept_seconds
from prefd.daemon.text.sizes import format_size
from prefd.daemon.timing import USUAL, Timing


def check_power(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Tells how the machine is kept awake, of its battery and its heat, and warns of Low Power Mode."""
    try:
        limits = Config.load(home).worker
    except ConfigError:  # told by check_config
        return
    yield HealthFinding("ok", "power", describe_power(limits))
    if is_low_power():
        remedy = "System Settings › Battery › Low Power Mode, or: sudo pmset -a lowpowermode 0"
        yield HealthFinding("warn", "power", "Low Power Mode is on: the GPU has about half its speed", remedy)
    if pressure := read_thermal_pressure():
        remedy = "give it air; pause_on_heat under [worker] has jobs wait until it has cooled"
        yield HealthFinding("warn", "power", f"heat slows the machine (thermal pressure {pressure})", remedy)


def describe_power(limits: WorkerLimits) -> str:
    """Says how the machine's power is dealt with while a job runs, and what this system does not tell."""
    facts = [describe_keeping() if limits.prevent_sleep else "not kept awake: worker.prevent_sleep is false"]
    battery = read_battery()
    if battery is None:
        facts.append("no battery, as far as the system tells")
    else:
        rule = (
            f"jobs wait below {limits.on_battery} % (worker.on_battery)" if limits.on_battery else "jobs run on it too"
        )
        facts.append(f"a battery at {battery.percent:.0f} %: {rule}")
    pressure = read_thermal_pressure()
    if pressure is None:
        doubt = ", so worker.pause_on_heat does nothing here" if limits.pause_on_heat else ""
        facts.append(f"the system does not tell whether heat slows it{doubt}")
    else:
        facts.append(f"thermal pressure {pressure or 'none'}")
    if read_slept_seconds() is None:
        facts.append("the system does not tell for how long it slept")
    return "; ".join(facts)


def check_memory(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Tells what memory is free and swapped, and warns where a Mac is short of it already."""
    memory, swap, pressure = psutil.virtual_memory(), psutil.swap_memory(), read_pressure()
    detail = f"{format_size(memory.available)} of {format_size(memory.total)} available; {format_size(swap.used)} swapped out"
    if pressure:
        remedy = "quit what takes most of it (Activity Monitor, Memory), or choose a smaller model: a job that swaps hardly moves"
        yield HealthFinding("warn", "memory", f"{detail}; macOS calls the memory pressure {pressure}", remedy)
    else:
        yield HealthFinding("ok", "memory", f"{detail}{'' if pressure is None else '; no memory pressure'}")
