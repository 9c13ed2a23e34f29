"""Describes what this machine computes on, and measures how fast, for `prefd doctor`."""

from __future__ import annotations

import time
from importlib import metadata
from statistics import median

import mlx.core as mx

from prefd.daemon.worker_tasks.answers import DeviceAnswer

MATRIX_SIZE = 1024
REPEATS = 5


def describe(blas: str | None) -> DeviceAnswer:
    """Describe the device, the BLAS and the measured float32 matrix-product rate in GFLOP/s."""
    device = mx.default_device()
    info = mx.device_info()
    return DeviceAnswer(
        device=str(device.type).rpartition(".")[2],
        device_name=str(info.get("device_name", "")),
        blas=blas,
        gflops=round(measure_gflops(), 1),
        mlx=metadata.version("mlx"),
        mlx_lm=metadata.version("mlx-lm"),
    )


def measure_gflops() -> float:
    """Measure the rate of a 1024³ float32 product: the median of five, after one to warm up."""
    a, b = mx.random.normal((MATRIX_SIZE, MATRIX_SIZE)), mx.random.normal((MATRIX_SIZE, MATRIX_SIZE))
    mx.eval(a, b, a @ b)
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        mx.eval(a @ b)
        seconds.append(time.perf_counter() - began)
    return 2 * MATRIX_SIZE**3 / median(seconds) / 1e9
