"""Why this process may not read what its user may: macOS's guarded folders, files in the cloud, and rights."""

import errno
import os
import sys
from pathlib import Path

import pytest

from prefd.daemon.machine.cloud import IN_CLOUD
from prefd.daemon.machine.readability import explain_unreadable, is_protected, list_documents
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.paths import faults_of_sources
from support import fake_worker
from support.fake_cloud import fake_cloud


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Mac's user, whose documents macOS guards."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("HOME", str(tmp_path / "mia"))
    documents = tmp_path / "mia" / "Documents"
    documents.mkdir(parents=True)
    real_open, real_scan = os.open, os.scandir

    def refuse(path: object) -> None:
        if Path(os.fspath(path)).is_relative_to(documents):  # type: ignore[arg-type]
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))

    def open_file(path: str | Path, flags: int, *args: int, **more: int) -> int:
        refuse(path)
        return real_open(path, flags, *args, **more)

    def scan(path: str | Path) -> object:
        refuse(path)
        return real_scan(path)

    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.setattr(os, "scandir", scan)
    return tmp_path / "mia"


def test_a_guarded_folder_is_told_with_the_setting_that_opens_it(account: Path) -> None:
    reason = explain_unreadable(account / "Documents") or ""
    assert "macOS does not let programs look there" in reason
    assert (
        f"Allow {os.path.realpath(sys.executable)} in System Settings › Privacy & Security › Full Disk Access" in reason
    )
    assert list_documents() == [account / "Documents"]


def test_a_spec_with_data_there_is_refused_at_once_with_that_reason(account: Path) -> None:
    (account / "Documents" / "pairs.jsonl").write_text("{}\n")
    model = fake_worker.model_folder(account / "model")
    spec = JobSpec.model_validate({"model": str(model), "data": {"path": str(account / "Documents" / "pairs.jsonl")}})
    faults = faults_of_sources(spec)
    assert any(
        str(fault).startswith(f"data.path: {account}/Documents/pairs.jsonl cannot be read by this prefd")
        for fault in faults
    )


@pytest.mark.parametrize(
    ("path", "guarded"),
    [("Desktop/x", True), ("Library/Mobile Documents/com~apple~CloudDocs/m", True), ("models/x", False)],
)
def test_what_macos_guards_is_known(account: Path, path: str, guarded: bool) -> None:
    assert is_protected(account / path) == guarded
    assert is_protected(Path("/Volumes/T7/models"))


def test_elsewhere_nothing_is_guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert not is_protected(Path.home() / "Documents")
    assert list_documents() == []


def test_what_can_be_read_or_is_not_there_needs_no_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert [explain_unreadable(tmp_path / name) for name in ("", "file", "none")] == [None, None, None]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_a_file_without_the_right_is_told_with_its_owner(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o000)
    assert explain_unreadable(tmp_path / "file") == "may not be read: Permission denied"


def test_a_file_whose_contents_are_in_the_cloud_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clouds = fake_cloud(monkeypatch)
    (tmp_path / "pairs.jsonl").write_text("{}\n")
    assert explain_unreadable(tmp_path / "pairs.jsonl") is None
    clouds.evict(tmp_path / "pairs.jsonl")
    assert explain_unreadable(tmp_path / "pairs.jsonl") == IN_CLOUD
