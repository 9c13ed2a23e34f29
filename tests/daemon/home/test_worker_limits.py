"""What a worker may take of the machine."""

import json
import os
import subprocess
import sys

import psutil
import pytest
from pydantic import ValidationError

from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.machine.cpus import usable_cpus

LOOK = "import json, os; from prefd.daemon.machine import cpus; cpus.apply_limits(); print(json.dumps([os.nice(0), cpus.usable_cpus()]))"


def test_no_limits_say_nothing() -> None:
    assert WorkerLimits().environment(1) == {}
    assert WorkerLimits().describe() == ""
    assert WorkerLimits(device="cpu").describe() == "on the CPU"
    assert WorkerLimits().memory_bytes is None


def test_limits_are_said_in_words() -> None:
    limits = WorkerLimits(cpus=1, memory="8GB", nice=10)
    assert limits.describe() == "1 core, at most 8GB, nice 10"
    assert limits.memory_bytes == 8_000_000_000


@pytest.mark.parametrize("memory", ["8 gigs", "lots", "-1GB", "0"])
def test_what_is_no_size_is_refused(memory: str) -> None:
    with pytest.raises(ValidationError, match=r"is no size; give 8GB, 500MB or 1\.5GiB"):
        WorkerLimits(memory=memory)


def test_what_the_machine_has_not_got_is_doubted() -> None:
    more = WorkerLimits(cpus=len(usable_cpus()) + 1, memory="900TB")
    assert [doubt.split(",")[0] for doubt in more.doubts()] == [
        *(f"worker.cpus is {len(usable_cpus()) + 1}", "worker.memory is 900TB")
    ]
    assert WorkerLimits(cpus=1, memory="1MB").doubts() == []


@pytest.mark.skipif(len(usable_cpus()) < 2, reason="there is one core")
def test_jobs_in_a_row_get_different_cores() -> None:
    one = WorkerLimits(cpus=1)
    assert one.environment(1)["PREFD_WORKER_CPUS"] != one.environment(2)["PREFD_WORKER_CPUS"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has affinity")
def test_a_worker_keeps_to_its_cores_and_lets_others_go_first() -> None:
    variables = WorkerLimits(cpus=1, nice=3).environment(1)
    process = subprocess.run([sys.executable, "-c", LOOK], env=os.environ | variables, capture_output=True, check=True)
    nice, cores = json.loads(process.stdout)
    assert nice == min(19, psutil.Process().nice() + 3)
    assert cores == [int(variables["PREFD_WORKER_CPUS"])]
