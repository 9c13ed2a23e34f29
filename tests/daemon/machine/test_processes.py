import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from prefd.daemon.machine.processes import ProcessId, end_process, signal_group
from prefd.daemon.queue.worker_process import describe_end, lock_worker
from prefd.daemon.runs.worker_log import read_tail
from support import fake_worker


def sleeper(code: str = "", **more: object) -> "subprocess.Popen[bytes]":
    program = f"import signal, time\n{code}\nprint('up', flush=True)\ntime.sleep(60)"
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program], stdout=subprocess.PIPE, start_new_session=True, **more
    )
    assert child.stdout.readline() == b"up\n"
    return child


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    with sleeper() as child:
        yield child
        child.kill()


def test_a_process_is_known_by_pid_and_start(child: "subprocess.Popen[bytes]") -> None:
    process = ProcessId.find(child.pid)
    assert process is not None
    assert process.is_alive()
    assert not ProcessId(child.pid, process.started - 100).is_alive()


@pytest.mark.skipif(sys.platform != "linux", reason="macOS is in test_darwin.py")
def test_a_process_is_known_after_the_clock_was_set_back_a_day(
    child: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    process = ProcessId.find(child.pid)
    assert process is not None
    then, real = psutil.Process(child.pid).create_time(), psutil.boot_time()
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: real - 86_400)  # as the kernel's btime does
    assert psutil.Process(child.pid).create_time() == pytest.approx(then - 86_400), "psutil's own would not do"
    assert process.is_alive()
    assert process == ProcessId.find(child.pid)


def test_a_process_of_another_boot_is_gone(child: "subprocess.Popen[bytes]") -> None:
    process = ProcessId.find(child.pid)
    assert process is not None
    assert not ProcessId(process.pid, process.started, "another boot").is_alive()


def test_a_start_time_of_an_earlier_version_is_still_understood(child: "subprocess.Popen[bytes]") -> None:
    started = psutil.Process(child.pid).create_time()
    assert ProcessId(child.pid, started).is_alive()
    assert not ProcessId(child.pid, started - 100).is_alive()


def test_an_unreaped_process_is_not_alive(child: "subprocess.Popen[bytes]") -> None:
    process = ProcessId.find(child.pid)
    assert process is not None
    child.kill()
    fake_worker.wait_for(lambda: not process.is_alive())
    child.wait()
    assert ProcessId.find(child.pid) is None


def test_a_reused_pid_is_never_signalled(child: "subprocess.Popen[bytes]") -> None:
    stranger = ProcessId(child.pid, 12345.0)
    assert asyncio.run(end_process(stranger, 0))
    assert child.poll() is None


@pytest.mark.parametrize("deaf", [False, True])
def test_end_is_polite_first(deaf: bool) -> None:
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if deaf else ""
    with sleeper(code) as child:
        process = ProcessId.find(child.pid)
        assert process is not None
        assert asyncio.run(end_process(process, 0.2 if deaf else 10))
        assert child.wait() == (-signal.SIGKILL if deaf else -signal.SIGTERM)


def test_signalling_a_group_that_is_gone_does_nothing(child: "subprocess.Popen[bytes]") -> None:
    child.kill()
    child.wait()
    signal_group(child.pid, signal.SIGTERM)
    assert child.returncode == -signal.SIGKILL


def test_the_worker_lock_lives_as_long_as_whoever_inherited_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    descriptor = lock_worker(path)
    assert descriptor is not None
    with sleeper(pass_fds=(descriptor,)) as child:
        os.close(descriptor)
        assert lock_worker(path) is None
        child.kill()
        child.wait()
    again = lock_worker(path)
    assert again is not None
    os.close(again)


@pytest.mark.parametrize(
    ("returncode", "message"),
    [
        (-signal.SIGALRM, "the worker's ranks did not all join within the time for it, and the system ended it (SIGALRM); its log ends:\none\ntwo"),
        (-signal.SIGKILL, "the worker was killed by SIGKILL, which neither prefd nor, as far as it tells, the system sent; its log ends:\none\ntwo"),
        (-signal.SIGSEGV, "the worker died of SIGSEGV; its log ends:\none\ntwo"),
        (-99, "the worker died of signal 99; its log ends:\none\ntwo"),
        (3, "the worker ended with exit code 3 and did not say why; its log ends:\none\ntwo"),
        (0, "the worker ended without saying how it went; its log ends:\none\ntwo"),
    ],
)  # fmt: skip
def test_an_end_without_an_outcome_is_put_into_words(tmp_path: Path, returncode: int, message: str) -> None:
    log = tmp_path / "worker.log"
    log.write_text("one\n\ntwo\n")
    assert describe_end(returncode, log) == message


def test_the_tail_is_bounded_printable_and_of_this_run_only(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    assert describe_end(1, log).endswith("its log is empty")
    log.write_bytes(b"before\n" + b"\x1b[31mred\xff\n" + b"x" * 10_000 + b"\nlast\n")
    assert read_tail(log, since=7).splitlines()[-1] == "last"
    assert len(read_tail(log, since=7)) <= 2000
    assert read_tail(log, since=log.stat().st_size - 5) == "last"
    log.write_bytes(b"before\n\x1b[31mred\xff\n")
    assert read_tail(log, since=7) == " [31mred\ufffd"


def test_nothing_is_left_running() -> None:
    began = time.monotonic()
    assert asyncio.run(end_process(ProcessId(2**22 + 1, 0.0), 10))
    assert time.monotonic() - began < 1
