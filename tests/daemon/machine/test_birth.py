"""When a folder was made: what tells it from a copy of itself."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import pytest

from prefd.daemon.machine.birth import read_birth


def test_a_rename_keeps_it_and_a_copy_has_its_own(tmp_path: Path) -> None:
    before = time.time()
    (tmp_path / "a").mkdir()
    birth = read_birth(tmp_path / "a")
    if birth is None:
        pytest.skip("this file system does not tell")
    assert before - 1 < birth < time.time() + 1
    os.utime(tmp_path / "a", (1, 1))
    (tmp_path / "a").rename(tmp_path / "b")
    assert read_birth(tmp_path / "b") == birth
    time.sleep(0.02)  # the kernel's clock for files goes by ticks
    shutil.copytree(tmp_path / "b", tmp_path / "a")
    assert read_birth(tmp_path / "a") != birth


def test_what_is_not_there_has_none(tmp_path: Path) -> None:
    with suppress(FileNotFoundError):  # macOS's
        assert read_birth(tmp_path / "none") is None
