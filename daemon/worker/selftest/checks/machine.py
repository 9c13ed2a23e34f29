"""Describes the machine: device, memory, versions; and refuses a Python that is translated for another chip."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata

import mlx.core as mx
import psutil

from prefd.daemon.machine import blas, mlx_environment
from prefd.daemon.worker.models.loading import device
from prefd.daemon.worker.models.memory import format_gib, machine
from prefd.daemon.worker_tasks.check_results import CheckResult

PACKAGES = ("prefd", "mlx", "mlx-lm", "numpy", "zarr", "transformers")


def check(_: str | None) -> CheckResult:
    """Describe what there is; the fault is what makes everything else not count."""
    info = mx.device_info()
    total, free = machine()
    swap = psutil.swap_memory()
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    numbers: dict[str, float | int | str | bool | None] = {
        "device": device(),
        "device_name": str(info.get("device_name", "")),
        "system": f"{platform.system()} {platform.release()}",
        "macos": platform.mac_ver()[0] or None,
        "processor": platform.machine(),
        "python": platform.python_version(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "device_memory_gib": round(total / 2**30, 1),
        "free_gib": round(free / 2**30, 1),
        "swap_used_gib": round(swap.used / 2**30, 1),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "on_battery": None if battery is None else not battery.power_plugged,
        "tf32": os.environ.get(mlx_environment.TF32, "") not in ("", "0"),
        "blas": blas.preload(),
    }
    numbers |= {name: metadata.version(name) for name in PACKAGES}
    numbers |= {f"device_{name}": value for name, value in info.items() if isinstance(value, int | float | str)}
    finding = (
        f"{numbers['device']} {numbers['device_name']}, {format_gib(total)} ({format_gib(free)} free); "
        f"{numbers['system']} {numbers['processor']}, Python {numbers['python']}; mlx {numbers['mlx']}, "
        f"mlx-lm {numbers['mlx-lm']}, prefd {numbers['prefd']}; load {numbers['load']} on {numbers['cores']} cores"
    )
    if fault := find_fault():
        return CheckResult(outcome="failed", finding=f"{fault[0]}: {finding}", numbers=numbers, remedy=fault[1])
    return CheckResult(outcome="ok", finding=finding, numbers=numbers)


def find_fault() -> tuple[str, str] | None:
    """Find what makes this Python the wrong one for the machine, with the remedy; None where nothing does."""
    if sys.platform == "darwin" and platform.machine() != "arm64":
        return (
            "this Python is an Intel one",
            "MLX needs Apple silicon; on it, install an arm64 Python (uv python install) and prefd with it",
        )
    if os.environ.get(mlx_environment.TF32, "0") != "0":
        return "TF32 is on, so float32 has 10 bits", f"unset {mlx_environment.TF32}"
    return None
