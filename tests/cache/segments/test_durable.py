"""What is flushed, and how, on file systems and systems that differ."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from prefd.cache.segments import durable

BARRIER, FULL = 85, 51


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """macOS's two calls, and what was asked of them and of fsync."""
    calls: list[object] = []
    monkeypatch.setattr(durable, "WRITE_BARRIER", BARRIER)
    monkeypatch.setattr(durable, "EMPTY_DRIVE_CACHE", FULL)
    monkeypatch.setattr(fcntl, "fcntl", lambda descriptor, command: calls.append(command))
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("fsync"))
    return calls


def test_on_macos_a_flush_is_a_barrier(tmp_path: Path, calls: list[object]) -> None:
    durable.flush(tmp_path)
    assert calls == [BARRIER]


def test_on_macos_what_is_acknowledged_has_left_the_drives_cache(tmp_path: Path, calls: list[object]) -> None:
    durable.flush_for_good(tmp_path)
    assert calls[-1] == FULL


def test_a_file_system_without_barriers_is_flushed_as_anywhere(
    tmp_path: Path, calls: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, command: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    durable.flush_for_good(tmp_path)
    assert calls == ["fsync"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_folder_that_the_file_system_cannot_flush_is_let_be_and_a_file_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(durable, "WRITE_BARRIER", None)
    monkeypatch.setattr(os, "fsync", refuse)
    file = tmp_path / "file"
    file.write_bytes(b"x")
    durable.flush(tmp_path)
    with pytest.raises(OSError, match=os.strerror(code)):
        durable.flush(file)
