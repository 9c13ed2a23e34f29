"""Whose a file is, and why it cannot be written, is told as what it is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from prefd.daemon.machine import owners
from prefd.daemon.machine.owners import (
    explain_owner,
    explain_rights,
    find_owner,
    has_rights,
    is_closed,
    name_user,
    restrict,
    write_sudo,
)
from support import drives

NOBODY = 4711_4711


def test_a_user_without_a_name_has_a_number() -> None:
    assert name_user(0) == "root"
    assert name_user(NOBODY) == f"user {NOBODY}"
    assert write_sudo(0) == "sudo"
    assert write_sudo(NOBODY) == f"sudo -u '#{NOBODY}'"


def test_ones_own_file_needs_no_explanation(tmp_path: Path) -> None:
    assert explain_owner(tmp_path) == explain_rights(tmp_path) == ""
    assert find_owner(tmp_path / "not" / "there") == os.geteuid()


@pytest.mark.parametrize(
    ("owner", "message"),
    [
        (0, "; it is root's, and you are user 47114711: was it made by `sudo`? `sudo chown -R user 47114711 /x/y` makes it yours"),
        (12, f"; it is {name_user(12)}'s, and you are user 47114711: `{write_sudo(12)} prefd …` works as {name_user(12)}"),
    ],
)  # fmt: skip
def test_anothers_file_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch, owner: int, message: str) -> None:
    monkeypatch.setattr(owners, "find_owner", lambda _: owner)
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    assert explain_owner(Path("/x/y")) == message


def test_a_read_only_file_system_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(tmp_path)
    flags = tuple(value if index != 8 else value | os.ST_RDONLY for index, value in enumerate(real))
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(flags))
    assert "mounted read-only" in explain_rights(tmp_path / "not" / "there")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_closed_folder_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        assert is_closed(tmp_path)
    finally:
        tmp_path.chmod(0o700)
    assert not is_closed(tmp_path)


def test_a_file_system_that_keeps_no_modes_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_rights(tmp_path)
    drives.keep_no_rights(monkeypatch, tmp_path)
    assert not has_rights(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_mode_is_given_where_modes_are_kept_and_a_refusal_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restrict(tmp_path, 0o700)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    with pytest.raises(FileNotFoundError):
        restrict(tmp_path / "gone", 0o700)
    drives.keep_no_rights(monkeypatch, tmp_path)
    restrict(tmp_path, 0o700)
