"""Stand-ins for `launchctl`, `systemctl` and their like: programs on PATH that note what they are asked, and remember what is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

LAUNCHCTL = """\
echo launchctl "$@" >> "$FAKE/asked"
case $1 in
bootstrap)
    if [ -e "$FAKE/loaded" ]; then echo 'Bootstrap failed: 5: Input/output error' >&2; exit 5; fi
    cp "$3" "$FAKE/loaded" ;;
bootout) rm "$FAKE/loaded" 2>/dev/null || { echo 'Boot-out failed: 3: No such process' >&2; exit 3; } ;;
print) [ -e "$FAKE/loaded" ] || exit 113; echo "$2 = {"; echo "	state = running"; echo "}" ;;
esac
"""
SYSTEMCTL = """\
echo systemctl "$@" >> "$FAKE/asked"
if [ -e "$FAKE/silent" ]; then echo 'Failed to connect to bus: No medium found' >&2; exit 1; fi
case $2 in
show) echo LoadState=loaded; echo ActiveState=active ;;
esac
"""


class FakeAccount:
    """An account whose programs are the stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir(parents=True)
        self.write("launchctl", LAUNCHCTL)
        self.write("systemctl", SYSTEMCTL)

    def write(self, name: str, script: str) -> None:
        """Make a program."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}")
        path.chmod(0o755)

    @property
    def commands(self) -> list[str]:
        """What the programs were asked, a line each."""
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []


def make_account(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAccount:
    """Make an account, and this process's environment its own."""
    account = FakeAccount(folder)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("FAKE", str(folder))
    monkeypatch.setenv("PATH", f"{account.programs}:/usr/bin:/bin")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return account
