"""Runs prefd's commands on a home that is mounted read-only, in a process with mounts of its own.

    unshare --user --map-root-user --mount python -m support.read_only_home FOLDER

FOLDER/home is copied to a file system that is then remounted read-only. Run by tests/whole/test_read_only_home.py; it prints `ok`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from prefd.daemon.errors import Exit
from prefd.daemon.home.layout import Home
from support.homes import invoke

READING = [
    "jobs",
    "jobs --json",
    "show 1",
    "show 1 --json",
    "logs 1",
    "metrics 1",
    "compare 1",
    "wait 1",
    "watch 1",
    "cache ls",
]
WRITING = ["pause", "cancel 1", "retry 1 --fresh", "init"]


def main(folder: Path) -> None:
    """Copy the home, mount it read-only, and run each command."""
    mount = folder / "mount"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", mount], check=True)
    shutil.copytree(folder / "home", mount / "home")
    subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
    home = Home(mount / "home")
    for command in READING:
        result = invoke(home, *command.split())
        assert result.exit_code == 0, (command, result.output)
    status = invoke(home, "status")
    assert (status.exit_code, "1 done" in status.stdout) == (4, True), status.output
    for command in WRITING:
        result = invoke(home, *command.split())
        assert result.exit_code == Exit.FAILED, (command, result.output, result.exception)
        assert "read-only" in result.stderr.lower(), (command, result.stderr)
    doctor = invoke(home, "doctor")
    assert "not tried, because" in doctor.stdout, doctor.stdout
    assert "what is there can be read" in " ".join(doctor.stdout.split()), doctor.stdout
    assert "sysctl" not in doctor.stdout
    assert "make room" not in doctor.stdout
    print("ok")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
