"""What is promised of numbers holds with every kernel of OpenBLAS that this machine can run, with one thread and two."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from paths import SMOL, SUPPORT

from prefd.daemon import blas
from prefd.daemon.worker.kernels import kernel_in_use

NEEDS = {"SkylakeX": "avx512vl", "Haswell": "avx2", "Sandybridge": "avx", "Nehalem": "sse4_2"}
"""OpenBLAS's kernels, and what a processor must have for them."""
STARTS = {"sigmoid": math.log(2), "dpop": math.log(2), "hinge": 1.0, "ipo": 25.0}
ROUNDED = 3e-4
"""Nats that a neighbour may make in a token of SmolLM2, in float32; 8e-5 was seen."""


def flags() -> set[str]:
    """What this processor can do, as Linux lists it; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    return set(path.read_text().split()) if path.exists() else set()


CORES = [core for core, flag in NEEDS.items() if flag in flags()][:3]


@pytest.mark.skipif("openblas" not in kernel_in_use(), reason="OpenBLAS is not behind MLX here")
@pytest.mark.parametrize("threads", [1, 2] if (os.cpu_count() or 1) > 1 else [1])
@pytest.mark.parametrize("core", CORES)
def test_numbers_hold_with_every_kernel(core: str, threads: int) -> None:
    """A scorer that says so keeps every bit whatever runs beside a sequence, and any other changes nothing but rounding; a
    policy that is the reference starts exactly; training from the cache equals live training, and training in float64.
    """
    found = measured(core, threads)
    for model in found["neighbours"].values():
        assert model["nats"] <= (0 if model["same_bits"] else ROUNDED), found
    starts = {loss: each["first"] for loss, each in found["losses"].items()}
    assert starts == pytest.approx(STARTS, rel=1e-6)
    for loss, each in found["losses"].items():
        limit = 1e-3 if loss == "dpop" else 2e-5  # δ = 50 multiplies what is rounded
        assert max(each["live"], each["float64"]) <= limit, (loss, each)


def measured(core: str, threads: int) -> dict[str, Any]:
    """What exactness.py finds in a child; on a real model too, once for each of the two kernels that most machines have."""
    real = [str(SMOL)] if SMOL.exists() and threads == 1 and core in ("SkylakeX", "Haswell") else []
    child = subprocess.run(
        [sys.executable, "-P", str(SUPPORT / "exactness.py"), *real],
        env=os.environ
        | {"OPENBLAS_CORETYPE": core, "OPENBLAS_NUM_THREADS": str(threads), "PYTHONPATH": str(SUPPORT)}
        | {"OPENBLAS_THREAD_TIMEOUT": "4"},  # a thread that waits for another gives its core away soon
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=280,
    )
    found: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    assert f" {core}, {threads} threads" in found["kernel"]
    return found


def test_the_kernels_of_this_process_are_named() -> None:
    """By the library that `blas` loaded, where it did."""
    assert "mlx 0." in kernel_in_use()
    if "openblas" in str(blas.preload()):
        assert kernel_in_use().startswith("openblas ")
