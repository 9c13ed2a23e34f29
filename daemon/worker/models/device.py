"""Describes what this machine computes on, and measures how fast, for `prefd doctor`."""

from __future__ import annotations

import platform
import time
from importlib import metadata
from statistics import median

import mlx.core as mx
import psutil

from prefd.daemon.machine.memory import read_pressure
from prefd.daemon.worker.models.loading import device
from prefd.daemon.worker.models.memory import format_gib, machine
from prefd.daemon.worker_tasks.answers import DeviceAnswer

MATRIX_SIZES = {"cpu": 1024, "gpu": 4096}
"""Device → rows of the measured product: a smaller one would measure how long a GPU takes to begin."""
REPEATS = 5


def describe(blas: str | None) -> DeviceAnswer:
    """Describe the device, the BLAS and the measured float32 matrix-product rate in GFLOP/s."""
    info = mx.device_info()
    return DeviceAnswer(
        device=device(),
        device_name=str(info.get("device_name", "")),
        blas=blas,
        gflops=round(measure_gflops(), 1),
        mlx=metadata.version("mlx"),
        mlx_lm=metadata.version("mlx-lm"),
    )


def measure_gflops() -> float:
    """Measure the rate of a square float32 product: the median of five, after one to warm up."""
    size = MATRIX_SIZES[device()]
    a, b = mx.random.normal((size, size)), mx.random.normal((size, size))
    mx.eval(a, b, a @ b)
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        mx.eval(a @ b)
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / median(seconds) / 1e9


def describe_machine() -> str:
    """Describe what this process runs on, as a report of trouble needs it: the device, its memory, the system, and what is swapped out."""
    name = str(mx.device_info().get("device_name", "")) or platform.processor() or platform.machine()
    release = platform.mac_ver()[0]
    system = f"macOS {release}" if release else f"{platform.system()} {platform.release()}"
    facts = [f"{device()} {name}".strip(), format_gib(machine()[0]), system]
    if swapped := psutil.swap_memory().used:
        facts.append(f"{format_gib(swapped)} swapped out when it ended")
    if pressure := read_pressure():
        facts.append(f"memory pressure {pressure}")
    return ", ".join(facts)
