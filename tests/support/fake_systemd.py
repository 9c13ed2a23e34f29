"""prefd under a real systemd: a user's manager that has its own mounts, processes and control group.

    unshare --mount --pid --fork --mount-proc python -m support.fake_systemd

Run by tests/whole/test_live_daemon.py, as root; it prints `ok`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import fake_worker
from support.service_page import follow_page

SYSTEMD = Path("/lib/systemd/systemd")
GROUPS = Path("/sys/fs/cgroup")
SECONDS = 30.0


def main(account: Path) -> None:
    (account / "bin").mkdir(parents=True)
    (account / "asked").touch()
    scripts = {
        "prefd": f'exec {sys.executable} -P -m prefd.daemon.cli "$@"',
        "systemctl": f'XDG_RUNTIME_DIR=/run/user exec {shutil.which("systemctl")} "$@"',
        "loginctl": "true",
    }
    for name, line in scripts.items():
        (account / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (account / "bin" / name).chmod(0o755)
    with own_manager(account):
        follow_page(account, "systemctl")  # returns once the daemon has said that it is ready
        assert shown("ActiveState", "StatusText") == ["active", "no jobs yet"]
        override = account / ".config" / "systemd" / "user" / "prefd.service.d"
        override.mkdir()
        (override / "quick.conf").write_text("[Service]\nWatchdogSec=1\nRestartSec=0.1\n")
        systemctl("daemon-reload")
        systemctl("restart", "prefd")
        time.sleep(2.5)
        assert shown("NRestarts") == ["0"], "it tells of its life in time"
        is_started_again_after(signal.SIGKILL, "1")
        is_started_again_after(signal.SIGSTOP, "2")  # the watchdog misses its sign of life
        systemctl("stop", "prefd")
        assert shown("ActiveState", "Result", "ExecMainStatus") == ["inactive", "success", "0"]
        shutil.rmtree(override)
        is_managed_by_the_command(account)


def is_managed_by_the_command(account: Path) -> None:
    """`prefd service` writes a unit in place of the one there is, which serves the home that it names, and takes it away."""
    home = account / "another home 100%"
    prefd = (sys.executable, "-P", "-m", "prefd.daemon.cli", "--home", str(home), "service")
    run(*prefd, "install", "--json")
    assert shown("ActiveState", "StatusText", "UnitFileState") == ["active", "no jobs yet", "enabled"]
    assert (home / "run" / "daemon.json").exists()
    output = subprocess.run([*prefd, "status"], check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout
    assert "ActiveState=active" in output
    run(*prefd, "install", "--json")  # again: the daemon there is the service's own
    run(*prefd, "uninstall", "--json")
    assert shown("LoadState", "ActiveState") == ["not-found", "inactive"]


def is_started_again_after(number: signal.Signals, restarts: str) -> None:
    """Whatever the signal does to the daemon's process, systemd sees it and starts another, which gets ready."""
    (before,) = shown("MainPID")
    os.kill(int(before), number)
    fake_worker.wait_for(lambda: shown("NRestarts", "ActiveState") == [restarts, "active"], SECONDS)
    assert shown("MainPID") not in (["0"], [before])


def shown(*names: str) -> list[str]:
    """Properties of the unit."""
    return [systemctl("show", "prefd", "--value", "--property", name).strip() for name in names]


def systemctl(*arguments: str) -> str:
    return subprocess.run(
        ["systemctl", "--user", *arguments], check=True, stdout=subprocess.PIPE, text=True, timeout=60
    ).stdout


@contextmanager
def own_manager(account: Path) -> Iterator[None]:
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    for folder in ("/run/systemd/system", "/run/user"):  # the first: systemd is at work here
        Path(folder).mkdir(parents=True, mode=0o700)
    run("mount", "-t", "tmpfs", "tmpfs", str(GROUPS))
    run("mount", "-t", "cgroup2", "none", str(GROUPS))
    group = GROUPS / f"prefd-test-{time.monotonic_ns()}"
    group.mkdir()
    (group / "cgroup.procs").write_text("0")
    os.environ |= {"HOME": str(account), "XDG_RUNTIME_DIR": "/run/user"}
    manager = subprocess.Popen([SYSTEMD, "--user", "--log-target=console"], stdout=sys.stderr)
    try:
        answers = ("systemctl", "--user", "show", "--property", "Version")
        fake_worker.wait_for(lambda: subprocess.run(answers, capture_output=True, check=False).returncode == 0, SECONDS)
        yield
    finally:
        manager.terminate()
        manager.wait(SECONDS)
        (GROUPS / "cgroup.procs").write_text("0")
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    run("mount", "-t", "tmpfs", "tmpfs", "/mnt")
    main(Path("/mnt/an account"))
    print("ok")
