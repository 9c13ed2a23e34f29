from pathlib import Path

import pytest

from prefd.daemon.machine import mounts
from prefd.daemon.machine.mounts import Mount, find_mount, is_mounted

LOCAL = ("ext4", "xfs", "btrfs", "zfs", "apfs", "hfs", "tmpfs", "overlay", "fuseblk", "vfat", "exfat", "ntfs3")
REMOTE = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afpfs",
    "webdav",
    "ceph",
    "virtiofs",
    "fuse.sshfs",
    "fuse.rclone",
    "macfuse",
    "fusefs",
    "fuse-t",
    "lifs",
)


@pytest.mark.parametrize("kind", LOCAL)
def test_local_disks_tell_of_changes(kind: str) -> None:
    assert not Mount("/", kind, "").is_silent


@pytest.mark.parametrize("kind", REMOTE)
def test_network_mounts_do_not(kind: str) -> None:
    assert Mount("/", kind, "").is_silent


def test_the_innermost_and_latest_mount_holds_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner, link = tmp_path / "in ner", tmp_path / "link"
    (inner / "jobs").mkdir(parents=True)
    link.symlink_to(inner)
    listed = [
        Mount("/", "ext4", "a"),
        Mount(str(inner), "ext4", "b"),
        Mount(str(inner), "nfs4", "c"),
        Mount("/proc", "proc", "d"),
    ]
    monkeypatch.setattr(mounts, "list_mounts", lambda: listed)
    assert find_mount(inner / "jobs") == find_mount(link / "not-there-yet") == Mount(str(inner), "nfs4", "c")
    assert find_mount(tmp_path) == find_mount(tmp_path / "in ner2") == Mount("/", "ext4", "a")
    assert is_mounted(Mount(str(inner), "xfs", "another one"))
    assert not is_mounted(Mount(str(link), "nfs4", "c"))


def test_this_machines_own_list_has_a_root() -> None:
    root = find_mount(Path("/"))
    assert root is not None
    assert root.point == "/"
    assert is_mounted(root)
    assert Mount.from_json(root.to_json()) == root
    assert Mount.from_json({"point": 1, "more": 2}) is None


def test_without_a_list_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "/proc/filesystems")

    monkeypatch.setattr("psutil.disk_partitions", refuse)
    assert mounts.list_mounts() == []
    assert find_mount(Path("/")) is None
