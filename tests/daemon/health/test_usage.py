from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from prefd.daemon.health.usage import (
    DiskUsage,
    HomeUsage,
    MemoryUsage,
    Usage,
    WorkerMemory,
    measure_memory,
    measure_usage,
)
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal.status import usage_facts


@pytest.fixture
def there(home: Path) -> Home:
    ready_home = Home(home)
    ready_home.create()
    return ready_home


def test_what_the_home_takes_is_added_up(there: Home) -> None:
    (there.cache / "refs" / "deep").mkdir(parents=True)
    (there.cache / "refs" / "deep" / "a").write_bytes(os.urandom(300_000))
    (there.runs / "1").mkdir()
    (there.runs / "1" / "adapter").write_bytes(os.urandom(100_000))
    (there.runs / "1" / "elsewhere").symlink_to("/")
    home_usage = measure_usage(there).home
    assert home_usage.complete is True
    for name, folder in (("cache_bytes", there.cache), ("runs_bytes", there.runs)):
        du = subprocess.run(["du", "-sk", str(folder)], capture_output=True, text=True, check=True).stdout
        itself = os.stat(folder).st_blocks * 512
        assert getattr(home_usage, name) + itself == pytest.approx(int(du.split()[0]) * 1024, abs=2048)


def test_a_home_of_many_files_is_told_as_a_lower_bound(there: Home) -> None:
    usage = replace(measure_usage(there), home=HomeUsage(cache_bytes=0, runs_bytes=4096, complete=False))
    assert dict(usage_facts(usage))["disk"].startswith("more than cache 0 B, runs ")


def test_memory_is_the_processes_and_the_machines(there: Home) -> None:
    code = "import subprocess, sys, time; kept = b'x' * 60_000_000\nprint('there', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        memory = measure_usage(there, daemon=os.getpid(), workers={7: worker.pid, 8: 2**22 - 1}).memory
        worker.kill()
    assert (memory.daemon_bytes or 0) > 10_000_000
    [held] = memory.workers
    assert held.job == 7
    assert 60_000_000 < held.bytes < 200_000_000
    assert 0 < memory.available_bytes < memory.total_bytes
    assert measure_memory(2**22 - 1) is None


def test_the_lines_say_who_holds_what() -> None:
    usage = Usage(
        DiskUsage(free_bytes=120_000_000_000, total_bytes=500_000_000_000),
        HomeUsage(cache_bytes=12_100_000, runs_bytes=3_420_000_000, complete=True),
        MemoryUsage(6_100_000_000, 8_000_000_000, 57_000_000, [WorkerMemory(job=3, bytes=1_200_000_000)]),
    )
    assert usage_facts(usage) == [
        ("memory", "daemon 57 MB, job 3 1.2 GB; 6.1 GB of 8 GB available"),
        ("disk", "cache 12.1 MB, runs 3.42 GB; 120 GB of 500 GB free"),
    ]


def test_a_home_without_folders_takes_nothing(home: Path) -> None:
    home.mkdir()
    assert measure_usage(Home(home)).home == HomeUsage(cache_bytes=0, runs_bytes=0, complete=True)
