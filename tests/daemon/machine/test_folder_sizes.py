"""What is below a folder is added up as `du` does, and for no longer than time allows."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.machine.folder_sizes import MeasuredFolder, measure_file, measure_folder, measure_in_time


def test_many_files_take_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        (tmp_path / str(number)).write_bytes(b"x" * 4096)
    milliseconds = itertools.count()
    with monkeypatch.context() as patch:  # each look at the clock is a millisecond later, and each file takes one
        patch.setattr(time, "monotonic", lambda: next(milliseconds) / 1000)
        measured = measure_in_time(tmp_path, 0.05)
    assert not measured.complete
    assert measured.bytes == pytest.approx(measure_folder(tmp_path) / 6, rel=0.1)
    assert measure_in_time(tmp_path, 60) == MeasuredFolder(measure_folder(tmp_path), complete=True)


def test_what_is_gone_since_it_was_listed_hides_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that is just being replaced leaves the sizes of all others."""
    for name in "abc":
        (tmp_path / name).write_bytes(b"x" * 4096)
    size = measure_file((tmp_path / "a").stat())
    real = os.scandir

    class Listing:
        """The folder as it was when it was listed; `b` has gone since."""

        def __init__(self, path: str) -> None:
            self.entries = list(real(path))

        def __enter__(self) -> Iterator[Any]:
            (tmp_path / "b").unlink(missing_ok=True)
            return iter(self.entries)

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(os, "scandir", Listing)
    assert measure_folder(tmp_path) == 2 * size


def test_a_folder_that_is_not_there_takes_nothing(tmp_path: Path) -> None:
    assert measure_folder(tmp_path / "gone") == 0
    assert measure_in_time(tmp_path / "gone", 60) == MeasuredFolder(0, complete=True)
