"""Telling that memory ran out from other ends of a worker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from prefd.daemon.machine import memory
from prefd.daemon.queue import memory_watch
from prefd.daemon.queue.memory_watch import MemoryWatch
from prefd.daemon.specs.memory_advice import suggest_savings
from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.timing import USUAL
from support.running_daemon import Place, process


@pytest.mark.parametrize(
    "message",
    [
        "MemoryError",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "[malloc] Unable to allocate 8000000000 bytes.",
        "[metal::malloc] Attempting to allocate 34359738368 bytes which is greater than the maximum allowed buffer size",
        "[METAL] Command buffer execution failed: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
        "cudaMallocAsync failed: out of memory",
    ],
)
def test_what_libraries_say_is_known(message: str) -> None:
    assert "ran out of memory" in (MemoryWatch(os.getpid()).verdict(-signal.SIGABRT, f"before\n{message}\n") or "")


def test_other_ends_are_not_taken_for_it() -> None:
    watch = MemoryWatch(os.getpid())
    assert watch.verdict(-signal.SIGSEGV, "a segmentation fault") is None
    assert watch.verdict(-signal.SIGKILL, "loading the model") is None


def test_a_kill_with_hardly_any_memory_free_is_probably_the_systems() -> None:
    watch = MemoryWatch(os.getpid(), free=0.01, peak=3_000_000_000)
    message = "the worker was killed, probably for want of memory (1.0% of it was free); it took 3 GB at most"
    assert (watch.verdict(-signal.SIGKILL, "") or "").startswith(message)
    assert watch.verdict(-signal.SIGTERM, "") is None


def test_a_kill_after_macos_called_memory_critical_is_probably_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = MemoryWatch(os.getpid())
    monkeypatch.setattr(memory_watch, "read_pressure", lambda: "critical")
    watch.look()
    assert "macOS called its pressure critical" in (watch.verdict(-signal.SIGKILL, "") or "")
    assert watch.verdict(-signal.SIGTERM, "") is None


@pytest.mark.parametrize(
    ("share", "pressures", "swapped", "must_stop"),
    [
        (0.6, "ccc", 0, True),
        (0.4, "ccc", 0, False),
        (0.6, "chcc", 0, False),
        (0.6, "hhh", 3e9, True),
        (0.6, "hhh", 1e9, False),
        (0.6, "---", 3e9, False),
    ],
)
def test_a_worker_that_holds_most_of_a_mac_is_stopped_before_the_mac_ends_it(
    monkeypatch: pytest.MonkeyPatch, share: float, pressures: str, swapped: float, must_stop: bool
) -> None:
    total = psutil.virtual_memory().total
    monkeypatch.setattr(memory_watch, "private_bytes", lambda _: int(share * total))
    words, answers = {"c": "critical", "h": "high", "-": ""}, iter(pressures)
    monkeypatch.setattr(memory_watch, "read_pressure", lambda: words[next(answers)])
    watch = MemoryWatch(os.getpid(), timing=replace(USUAL, memory_look=0.0), swap_before=int(1e9))
    monkeypatch.setattr(memory_watch, "measure_swap", lambda: int(1e9 + swapped))
    for _ in pressures:
        watch.look()
    assert watch.must_stop == must_stop


def test_the_counts_of_the_system_and_of_both_kinds_of_group_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "vmstat": "nr_free 5\noom_kill 1\n",
        "events": "oom 7\noom_kill 2\n",
        "control": "under_oom 0\noom_kill 4\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "_counters", lambda: [*(tmp_path / name for name in files), tmp_path / "none"])
    assert memory.count_kills() == 7
    watch = MemoryWatch(os.getpid())
    assert watch.verdict(-signal.SIGKILL, "") is None
    (tmp_path / "events").write_text("oom_kill 3\n")
    assert "the system ran out of memory and killed the worker" in (watch.verdict(-signal.SIGKILL, "") or "")


@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that counts")
def test_here_somebody_counts() -> None:
    assert any(path.exists() and "oom_kill" in path.read_text() for path in memory._counters())


def test_what_is_only_mapped_does_not_count(tmp_path: Path) -> None:
    import mmap

    path = tmp_path / "large"
    path.write_bytes(b"\1" * 50_000_000)
    before = memory.private_bytes(psutil.Process())
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[offset] for offset in range(0, len(mapped), 4096)) > 0
        after = memory.private_bytes(psutil.Process())
    if sys.platform == "linux":
        assert after - before < 10_000_000


def test_the_remedy_names_the_settings_that_are_not_used_yet() -> None:
    assert "grad_checkpoint" in suggest_savings(TrainingSpec())
    small = TrainingSpec.model_validate({"grad_checkpoint": True, "quantize": {"bits": 4}})
    assert suggest_savings(small) == "a smaller data.max_length, training.batch_tokens or training.chunk_tokens"


# --- the kernel's own


@pytest.fixture
def group() -> Iterator[Path]:
    """A memory group of 150 MB, without swap; `cgroup.procs` in it takes processes."""
    root = Path("/sys/fs/cgroup")
    old = (root / "memory").is_dir()
    group_folder = (root / "memory" if old else root) / f"prefd-test-{os.getpid()}"
    try:
        group_folder.mkdir()
    except OSError as error:
        pytest.skip(f"no memory group can be made here: {error.strerror}")
    try:
        limits = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes") if old else ("memory.max", "memory.swap.max")
        (group_folder / limits[0]).write_text("150000000")
        with suppress(OSError):  # where swap is not counted, there is none
            (group_folder / limits[1]).write_text("150000000" if old else "0")
        yield group_folder
    except OSError as error:
        pytest.skip(f"no memory group can be given a limit here: {error.strerror}")
    finally:
        deadline = time.monotonic() + 10
        while group_folder.exists() and time.monotonic() < deadline:
            with suppress(OSError):  # its last process is not quite gone
                group_folder.rmdir()
            time.sleep(0.05)


@pytest.mark.slow
def test_a_worker_that_the_kernel_kills_is_named_once_and_the_daemon_lives(place: Place, group: Path) -> None:
    with process(place) as daemon:
        (group / "cgroup.procs").write_text(str(daemon.pid))
        place.drop("a.yaml", name="greedy")
        place.wait_for("failed")
        place.drop("b.yaml")
        failed, _ = place.wait_for("failed", "done")
        assert daemon.poll() is None
    assert "halved 3 times, the system ran out of memory and killed the worker; it took " in failed.reason
    assert "Make the job smaller and submit it again: training.grad_checkpoint: true" in failed.reason
    assert (place.home.job(1) / "starts.txt").read_text().count("precompute") == 4, (
        "it was tried with half the batch, three times"
    )


def test_the_ranks_beside_a_worker_count_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_watch, "private_bytes", lambda process: 100 if process.pid == os.getpid() else 7)
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE):
        for has_ranks, least in ((False, 100), (True, 107)):
            watch = MemoryWatch(os.getpid(), limit=106, has_ranks=has_ranks)
            watch.look()
            assert (watch.peak >= least, watch.over) == (True, has_ranks)
