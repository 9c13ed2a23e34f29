"""A cloud's folder on a Mac, of ordinary files: the sticky bit is the flag of one whose contents were taken off the disk."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from prefd.daemon.machine import cloud


@dataclass
class FakeCloud:
    """What was asked for; `online`: whether it comes."""

    online: bool = False
    asked: list[Path] = field(default_factory=list)

    def evict(self, path: Path) -> None:
        """Take the contents off the disk, as macOS does since version 14."""
        path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_ISVTX)

    def bring(self, path: Path) -> None:
        """Have the contents on the disk again."""
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~stat.S_ISVTX)

    def read(self, path: Path) -> None:
        """Do in a thread what a read of an evicted file does."""
        self.asked.append(path)
        if self.online:
            self.bring(path)


def fake_cloud(monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    """Make a cloud for one test."""
    fake = FakeCloud()

    def get_flags(info: os.stat_result) -> int:
        return cloud.SF_DATALESS | 0x20 if info.st_mode & stat.S_ISVTX else 0

    monkeypatch.setattr(cloud, "CAN_EVICT", True)
    monkeypatch.setattr(cloud, "_get_flags", get_flags)
    monkeypatch.setattr(cloud, "_read_byte", fake.read)
    return fake
