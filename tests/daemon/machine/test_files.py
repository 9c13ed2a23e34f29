"""Files in shared folders: made durable where the file system can, and git's notes of files told from files."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from prefd.cache.segments.durable import NO_FOLDERS, flush, flush_for_good, whole_file
from prefd.daemon.jobs import rebuild
from prefd.daemon.machine.files import is_lfs_pointer, read_end

SYNC: list[Callable[[Path], None]] = [flush, flush_for_good]


def refuse(monkeypatch: pytest.MonkeyPatch, code: int, folders_only: bool) -> list[int]:
    """Let fsync fail with `code`; the descriptors that it has refused."""
    real, refused = os.fsync, list[int]()

    def fsync(descriptor: int) -> None:
        if folders_only and not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return real(descriptor)
        refused.append(descriptor)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    return refused


@pytest.mark.parametrize("sync", SYNC)
@pytest.mark.parametrize("code", sorted(NO_FOLDERS))
def test_a_file_system_that_cannot_fsync_a_folder_is_forgiven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: Callable[[Path], None], code: int
) -> None:
    refused = refuse(monkeypatch, code, folders_only=True)
    sync(tmp_path)
    assert len(refused) == 1


@pytest.mark.parametrize("sync", SYNC)
def test_a_disk_that_fails_is_not_and_neither_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: Callable[[Path], None]
) -> None:
    (tmp_path / "file").write_text("x")
    refuse(monkeypatch, errno.EINVAL, folders_only=False)
    with pytest.raises(OSError, match="Invalid argument"):
        sync(tmp_path / "file")
    refuse(monkeypatch, errno.EIO, folders_only=False)
    with pytest.raises(OSError, match="Input/output error"):
        sync(tmp_path)


def test_a_database_is_rebuilt_where_folders_cannot_be_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database, rebuilt = tmp_path / "prefd.sqlite3", tmp_path / "made"
    rebuilt.write_text("new")
    refuse(monkeypatch, errno.ENOSYS, folders_only=True)
    rebuild.put_in_place(database, rebuilt)
    assert database.read_text() == "new"


def test_a_git_lfs_pointer_is_told_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    assert not is_lfs_pointer(path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 5\n")
    assert is_lfs_pointer(path)
    path.write_bytes(b"\x08\x00\x00")
    assert not is_lfs_pointer(path)


def test_the_end_of_a_file_is_read_from_a_place_and_within_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_bytes(b"one two three")
    with path.open("rb") as file:
        assert read_end(file) == (b"one two three", 0)
        assert read_end(file, since=4) == (b"two three", 4)
        assert read_end(file, limit=5) == (b"three", 8)
        assert read_end(file, limit=5, since=10) == (b"ree", 10)


def test_a_file_that_was_cut_since_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_bytes(b"anew")
    with path.open("rb") as file:
        assert read_end(file, since=5) == (b"anew", 0)
        assert read_end(file, limit=2, since=5) == (b"ew", 2)
        assert read_end(file, since=4) == (b"", 4)


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "note"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="broke off"), whole_file(path, tmp_path / "beside") as file:  # noqa: PT012
        file.write(b"half")
        raise ValueError("broke off")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_closed_to_others_from_its_first_byte_on(tmp_path: Path) -> None:
    path, beside = tmp_path / "token", tmp_path / "beside"
    beside.write_text("left by a crash")
    beside.chmod(0o644)
    with whole_file(path, beside, private=True) as file:
        assert beside.stat().st_mode & 0o777 == 0o600
        file.write(b"secret")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"secret", 0o600)


def test_a_whole_file_is_flushed_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "note", []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append((os.fstat(descriptor).st_size, path.exists())))
    with whole_file(path, tmp_path / "beside") as file:
        file.write(b"all of it")
    assert seen == [(9, False)]
    assert path.read_bytes() == b"all of it"
