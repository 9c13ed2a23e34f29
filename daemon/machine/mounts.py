"""Which file system a folder is on: whether it tells of changes, and whether it is still the one it was.

A network mount that goes away leaves the folder it was mounted over: empty, writable, and the wrong one.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

SILENT = re.compile(
    r"nfs\d?|cifs|smb\w*|9p|afs|afpfs|ncpfs|ceph|glusterfs|lustre|gpfs|beegfs|ocfs2|gfs2?|coda|webdav|davfs2?"
    r"|vboxsf|vmhgfs|prl_fs|virtiofs|drvfs|fakeowner|fuse(\..+)?|macfuse|osxfuse"
)
"""File systems whose files may change elsewhere, without the kernel here being told. (`fuseblk`, a local disk, is not.)"""


@dataclass(frozen=True)
class Mount:
    point: str
    """The folder it is mounted on."""
    kind: str
    """The file system's type, such as ext4 or nfs4."""
    device: str
    """What is mounted, such as /dev/sda1 or server:/export."""

    @property
    def is_silent(self) -> bool:
        """Whether file events cannot be relied on."""
        return SILENT.fullmatch(self.kind) is not None

    def describe(self) -> str:
        return f"{self.kind} from {self.device}" if self.device else self.kind

    def to_json(self) -> dict[str, str]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Mount | None:
        """What `to_json` gave; None for anything else."""
        try:
            return cls(**value)
        except TypeError:
            return None


def list_mounts() -> list[Mount]:
    """Every mount, the later of two on one folder last; none where the system does not tell.

    It looks at the kernel's list only, so a mount that hangs is no matter.
    """
    try:
        listed = psutil.disk_partitions(all=True)
    except OSError:  # no /proc, in a chroot
        return []
    return [Mount(each.mountpoint, each.fstype, each.device) for each in listed]


def find_mount(path: Path) -> Mount | None:
    """The mount that holds `path`, links followed; None where the system does not tell."""
    real = path.resolve()
    holding = [mount for mount in list_mounts() if real.is_relative_to(mount.point)]
    return max(reversed(holding), key=lambda mount: len(Path(mount.point).parts), default=None)


def is_mounted(mount: Mount) -> bool:
    """Whether something is mounted where `mount` was."""
    return any(each.point == mount.point for each in list_mounts())
