"""A stand-in for ssh, first on PATH: it runs the command here, and can be told to refuse, to hang, and what else to change there.

How it behaves at a host is in a file of that host's name in its folder, which is looked at when it starts. It becomes the command, so
that whoever kills it ends that too, as it is with ssh; with STAYS=1 there it waits for the command and ends with its exit code.
"""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = """#!/bin/sh
# ssh OPTION... HOST COMMAND
while [ "${{1#-}}" != "$1" ]; do
  if [ "$1" = -o ]; then shift; fi
  shift
done
host=$1; command=$2
echo "$host: $command" >> '{folder}/calls'
echo $$ >> '{folder}/pids'
export XDG_CACHE_HOME='{folder}/cache'
unset PREFD_SETTINGS PREFD_RANK PREFD_RANKS PREFD_RANKS_HERE PREFD_RANK_SEATS PREFD_PARENT PREFD_WORKER_CPUS
if [ -f "{folder}/$host" ]; then . "{folder}/$host"; fi
cd /
if [ -z "$STAYS" ]; then exec sh -c "$command"; fi
sh -c "$command"
"""


@dataclass(frozen=True)
class FakeSSH:
    """FakeSSH is an `ssh` that runs commands on this machine. `folder` is where it lies."""

    folder: Path

    def behave(self, host: str, shell: str) -> None:
        """Has it run these lines of shell before a command for `host`."""
        (self.folder / host).write_text(shell + "\n")

    def refuse(self, host: str) -> None:
        """Has it end as ssh does where it has no key for `host`."""
        self.behave(host, f"echo '{host}: Permission denied (publickey).' >&2; exit 255")

    @property
    def calls(self) -> list[str]:
        """The host and the command of each call."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def pids(self) -> list[int]:
        """The process ids of the calls."""
        path = self.folder / "pids"
        return list(map(int, path.read_text().split())) if path.exists() else []


def put_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSSH:
    """Makes the stand-in in `folder`, and puts it first on PATH."""
    folder.mkdir()
    script = folder / "ssh"
    script.write_text(SCRIPT.format(folder=folder))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    return FakeSSH(folder)
