"""What becomes of `jobs/` when it is deleted, replaced, or its mount goes away; tests/whole/test_folder_of_another_user.py has real mounts."""

import platform
import shutil
import sys
from pathlib import Path

import pytest

from prefd.daemon.health.home_checks import check_home
from prefd.daemon.home.identity import begin_identity
from prefd.daemon.home.layout import Home, HomeUnusable
from prefd.daemon.inbox.availability import FolderUnusable, WatchedFolder
from prefd.daemon.inbox.submit import submit
from prefd.daemon.machine import darwin, mounts
from prefd.daemon.machine.mounts import Mount
from support.fake_libsystem import FakeLibrary, find_here


@pytest.fixture
def listed(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> list[Mount]:
    """The mounts that there are, as a test has them."""
    listed = [Mount("/", "ext4", "/dev/sda1")]
    monkeypatch.setattr(mounts, "list_mounts", lambda: list(listed))
    return listed


def test_a_folder_is_another_one_at_the_first_check_and_when_it_was_replaced(ready_home: Home) -> None:
    folder = WatchedFolder(ready_home)
    assert [folder.check() for _ in range(3)] == [True, False, False]
    ready_home.jobs.rename(ready_home.root / "away")
    assert [folder.check(), folder.check()] == [True, False]
    assert ready_home.accepted.is_dir()
    ready_home.rejected.rmdir()
    assert [folder.check(), folder.check()] == [True, False]
    assert ready_home.rejected.is_dir()
    assert not (ready_home.root / "watched.json").exists(), "it is no mount: there is nothing to remember"


def test_a_lost_mount_is_waited_for_and_nothing_is_made_under_it(ready_home: Home, listed: list[Mount]) -> None:
    mount = Mount(str(ready_home.jobs.resolve()), "nfs4", "server:/jobs")
    listed.append(mount)
    folder = WatchedFolder(ready_home)
    assert folder.check()
    assert folder.is_remote
    listed.remove(mount)
    ready_home.jobs.rename(ready_home.root / "server")  # what was mounted is gone from here,
    ready_home.jobs.mkdir()  # and what is under it shows
    for each in (folder, WatchedFolder(ready_home)):  # a daemon that starts meanwhile knows it too
        with pytest.raises(
            FolderUnusable, match=r"jobs is not mounted \(it was nfs4 from server:/jobs\): .*delete .*watched\.json"
        ):
            each.check()
    assert list(ready_home.jobs.iterdir()) == []
    with pytest.raises(FolderUnusable, match="is not mounted"):
        submit(ready_home, {"model": "m"}, "a.yaml")
    assert list(ready_home.jobs.iterdir()) == []
    ready_home.jobs.rmdir()
    (ready_home.root / "server").rename(ready_home.jobs)
    listed.append(mount)
    assert folder.check(), "claims of before the loss are looked for again"


def test_the_folder_under_a_mount_is_taken_when_one_says_so(ready_home: Home, listed: list[Mount]) -> None:
    listed.append(Mount(str(ready_home.jobs.resolve()), "nfs4", "server:/jobs"))
    assert WatchedFolder(ready_home).check()
    listed.pop()
    (ready_home.root / "watched.json").unlink()
    assert WatchedFolder(ready_home).check()
    assert not (ready_home.root / "watched.json").exists()


def test_a_link_into_nothing_is_waited_for(ready_home: Home, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    ready_home.jobs.rename(elsewhere)
    ready_home.jobs.symlink_to(elsewhere)
    folder = WatchedFolder(ready_home)
    assert folder.check()
    elsewhere.rename(tmp_path / "away")
    with pytest.raises(FolderUnusable, match=r"jobs points to .*elsewhere, which is not there$"):
        folder.check()
    (tmp_path / "away").rename(elsewhere)
    assert folder.check()


def test_a_folder_that_is_another_homes_is_left_to_it(ready_home: Home, tmp_path: Path) -> None:
    """Else each would take the other's claims for its own of before a crash, and run them again."""
    shared, other = tmp_path / "shared", Home(tmp_path / "other")
    ready_home.jobs.rename(shared)
    other.create()
    for folder in (other.accepted, other.rejected, other.jobs):
        folder.rmdir()
    for home in (ready_home, other):
        home.jobs.symlink_to(shared)
    assert WatchedFolder(ready_home).check()
    with pytest.raises(
        FolderUnusable,
        match=rf"jobs is watched for {ready_home.root} on .*; if it is not any more, delete .*/accepted/.home$",
    ):
        WatchedFolder(other).check()
    ready_home.root.rename(tmp_path / "moved")
    assert WatchedFolder(Home(tmp_path / "moved")).check(), "it is known by its id, wherever it lies"
    (tmp_path / "moved" / "watched.json").unlink()
    (tmp_path / "moved").rename(ready_home.root)
    assert WatchedFolder(ready_home).check(), "and by its place, whatever its id"
    (shared / "accepted" / ".home").unlink()
    assert WatchedFolder(other).check()


def test_a_mac_is_known_whatever_the_network_calls_it(
    ready_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready_home.jobs.rename(tmp_path / "shared")
    ready_home.jobs.symlink_to(tmp_path / "shared")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(darwin, "load_library", lambda: FakeLibrary(find_here, {b"kern.uuid": b"5A0E"}))
    monkeypatch.setattr(platform, "node", lambda: "mbp.local")
    WatchedFolder(ready_home).check()
    monkeypatch.setattr(platform, "node", lambda: "mbp.home")
    (ready_home.root / "watched.json").unlink()
    assert WatchedFolder(ready_home).check()
    monkeypatch.setattr(darwin, "load_library", lambda: FakeLibrary(find_here, {b"kern.uuid": b"another"}))
    (ready_home.root / "watched.json").unlink()
    with pytest.raises(FolderUnusable, match=r"is watched for .* on mbp\.home"):
        WatchedFolder(ready_home).check()


def test_a_home_that_is_gone_is_not_made_again(ready_home: Home, tmp_path: Path) -> None:
    folder = WatchedFolder(ready_home)
    folder.check()
    ready_home.root.rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(HomeUnusable, match="home is not the folder it was when the daemon started"):
            folder.check()
        ready_home.root.mkdir(exist_ok=True)
    assert list(ready_home.root.iterdir()) == []


def test_the_folder_of_another_home_is_left_to_it_and_doctor_says_so(ready_home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.create()
    begin_identity(other.root)
    shutil.rmtree(ready_home.jobs)
    ready_home.jobs.symlink_to(other.jobs)
    with pytest.raises(
        FolderUnusable, match=r"leads to the folder of the home .*/other: each would take the other's specs"
    ):
        WatchedFolder(ready_home).check()
    assert not (other.accepted / ".home").exists()
    assert WatchedFolder(other).check(), "the other one's is its own"
    assert "remove the link" in next(check_home(ready_home)).detail
