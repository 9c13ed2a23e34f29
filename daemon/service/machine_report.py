"""What the daemon's status says of its machine: what a worker may take there, and what power and heat do to jobs."""

from __future__ import annotations

from prefd.daemon.control.status import Power, Worker
from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.machine.heat import read_thermal_pressure
from prefd.daemon.machine.memory import read_pressure
from prefd.daemon.machine.power import describe_keeping, read_battery, read_slept_seconds


def describe_worker(limits: WorkerLimits) -> Worker:
    """Say what each worker may take."""
    return Worker(cpus=limits.cpus, memory=limits.memory, nice=limits.nice, limits=limits.describe())


def measure_power(prevents_sleep: bool) -> Power:
    """Measure what the machine's power does to jobs."""
    battery = read_battery()
    return Power(
        kept_awake=describe_keeping() if prevents_sleep else "not kept awake: worker.prevent_sleep is false",
        battery_percent=None if battery is None else battery.percent,
        plugged=None if battery is None else battery.is_plugged,
        slept_s=read_slept_seconds(),
        thermal_pressure=read_thermal_pressure(),
        memory_pressure=read_pressure(),
    )
