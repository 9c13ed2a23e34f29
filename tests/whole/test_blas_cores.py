"""What is promised of numbers holds with every kernel of OpenBLAS that this machine can run, with one thread and two."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.machine import blas
from prefd.daemon.worker.scoring.kernels import name_kernel
from support.first_losses import STEPS
from support.float64_training import exact_losses, job_of
from support.programs import program, program_environment

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
THREADS = [1, 2] if (os.cpu_count() or 1) > 1 else [1]
LOSSES = [("sigmoid", "dpop"), ("hinge", "ipo")]


with_openblas = pytest.mark.skipif("openblas" not in name_kernel(), reason="OpenBLAS is not behind MLX here")


@with_openblas
@pytest.mark.thorough  # the usual tests run with the kernel at hand
@pytest.mark.parametrize("losses", LOSSES, ids="-".join)
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("core", CORES)
def test_numbers_hold_with_every_kernel(
    core: str, threads: int, losses: tuple[str, ...], tiny_model: Path, in_float64: Callable[[str], list[float]]
) -> None:
    """A scorer that says so keeps every bit whatever runs beside a sequence, and any other changes nothing but rounding; a
    policy that is the reference starts exactly; training from the cache equals live training, and training in float64.
    """
    numbers = measured(core, threads, tiny_model, *losses)
    assert_neighbours_change_no_more_than_said(numbers)
    assert numbers["losses"].keys() == set(losses)
    for loss, each in numbers["losses"].items():
        limit = 1e-3 if loss == "dpop" else 2e-5  # δ = 50 multiplies what is rounded
        assert each["cached"][0] == pytest.approx(STARTS[loss], rel=1e-6)
        assert each["cached"] == pytest.approx(each["live"], rel=0, abs=limit)
        assert each["cached"] == pytest.approx(in_float64(loss), rel=0, abs=limit)


@with_openblas
@pytest.mark.smol
@pytest.mark.thorough
@pytest.mark.parametrize("core", [core for core in CORES if core in ("SkylakeX", "Haswell")])
def test_neighbours_of_a_real_model_too_with_the_kernels_that_most_machines_have(core: str, smol_layers: Path) -> None:
    """With the kernel at hand, scoring/test_scorer.py shows it without a process."""
    if f" {core}, 1 threads" in name_kernel():
        pytest.skip("it is the kernel at hand")
    assert_neighbours_change_no_more_than_said(measured(core, 1, smol_layers))


def assert_neighbours_change_no_more_than_said(numbers: dict[str, Any]) -> None:
    neighbours = numbers["neighbours"]
    assert neighbours["nats"] <= (0 if neighbours["same_bits"] else ROUNDED), numbers["kernel"]


@pytest.fixture(scope="module")
def in_float64(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[float]]:
    """The losses of a training in float64, which no kernel changes: computed once for each loss."""
    return cache(lambda loss: exact_losses(job_of(tmp_path_factory.mktemp("exact"), tiny_model, loss), STEPS))


def measured(core: str, threads: int, model: Path, *losses: str) -> dict[str, Any]:
    """What kernel_numbers.py finds in a child."""
    child = subprocess.run(
        program("support.kernel_numbers", model, *losses),
        env=program_environment(
            OPENBLAS_CORETYPE=core,
            OPENBLAS_NUM_THREADS=str(threads),
            OPENBLAS_THREAD_TIMEOUT="4",  # a thread that waits for another gives its core away soon
        ),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=280,
    )
    numbers: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    assert f" {core}, {threads} threads" in numbers["kernel"]
    return numbers


def test_the_kernels_of_this_process_are_named() -> None:
    """By the library that `blas` loaded, where it did."""
    assert "mlx 0." in name_kernel()
    if "openblas" in str(blas.preload()):
        assert name_kernel().startswith("openblas ")
