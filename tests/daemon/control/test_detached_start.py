"""`prefd start --detach`, from a real terminal that goes away."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.control import detached_start
from prefd.daemon.control.detached_start import describe_last_words, is_answering
from prefd.daemon.home import lock
from prefd.daemon.home.layout import Home
from prefd.daemon.timing import Timing
from support import fake_worker
from support.homes import invoke
from support.sockets import find_socket


@pytest.fixture
def there(home: Path) -> Iterator[Home]:
    ready_home = Home(home)
    ready_home.create()
    yield ready_home
    if (held := lock.find_holder(ready_home)) is not None:
        os.kill(held.pid, signal.SIGKILL)


def start_on_a_terminal(home: Home) -> int:
    """The pid of a daemon that was started in a shell on a terminal, which has since hung up."""
    command = (
        f"exec 9<{home.config}; {sys.executable} -m prefd.daemon.cli --home '{home.root}' start --detach; read wait"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("sh", ["sh", "-c", command])
    output = b""
    try:
        while b"the daemon runs with pid" not in output:
            output += os.read(terminal, 4096)
    finally:
        os.close(terminal)  # the kernel sends SIGHUP to what is on it
        os.waitpid(pid, 0)
    return int(output.split(b"the daemon runs with pid ")[1].split(b";")[0])


@pytest.mark.slow
def test_it_outlives_its_terminal_and_holds_nothing_of_it(there: Home) -> None:
    there.config.write_text("")
    pid = start_on_a_terminal(there)
    time.sleep(0.3)
    daemon = psutil.Process(pid)
    assert is_answering(there, pid)
    assert (os.getsid(pid), daemon.cwd(), daemon.terminal()) == (pid, str(there.root), None)
    if sys.platform == "linux":
        targets = {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        assert targets[0] == "/dev/null"
        assert targets[1] == targets[2] == str(there.log)
        assert not [target for target in targets.values() if "pts" in target or target == str(there.config)]

    daemon.kill()  # it leaves its socket, its lock file and its name
    psutil.wait_procs([daemon], timeout=60)
    assert Path(find_socket(there)).exists()
    assert lock.read_announcement(there) is not None
    first, second = (subprocess.Popen(
        [sys.executable, "-m", "prefd.daemon.cli", "--home", str(there.root), "start", "--detach"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) for _ in range(2))  # fmt: skip
    ends = [process.communicate(timeout=120) for process in (first, second)]
    codes = [first.returncode, second.returncode]
    assert sorted(codes) == [Exit.OK, Exit.FAILED], ends
    _, output = ends[codes.index(Exit.FAILED)]
    assert "already" in output
    assert f"pid {int(ends[codes.index(Exit.OK)][0])}" in output
    assert invoke(there, "stop").exit_code == Exit.OK


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import sys; sys.exit('out of luck')", "ended at once, with exit code 1"),
        ("import time; time.sleep(60)", "did not answer within 0.2 s and was ended"),
    ],
)
def test_one_that_does_not_come_up_says_why(
    there: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    there.log.write_text("of an earlier daemon\n")
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{script}"\n')
    fake.chmod(0o755)
    monkeypatch.setattr(detached_start, "PYTHON", (str(fake),))
    timing = Timing(detached_start=0.2 if "sleep" in script else 30)
    result = invoke(there, "start", "--detach", timing=timing)
    assert result.exit_code == Exit.FAILED
    assert message in result.stderr
    assert "of an earlier daemon" not in result.stderr
    assert ("out of luck" in result.stderr) == ("luck" in script)
    fake_worker.wait_for(lambda: lock.find_holder(there) is None)


def test_the_tail_is_what_was_written_since(tmp_path: Path) -> None:
    log = tmp_path / "d.log"
    log.write_text("before\nafter\n")
    assert describe_last_words(log, 7).splitlines()[1:] == ["after"]
    assert describe_last_words(log, 13) == f"{log} says nothing"
    assert describe_last_words(log, 1000).splitlines()[1:] == ["before", "after"], "it has been rotated since"
