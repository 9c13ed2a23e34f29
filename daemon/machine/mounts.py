"""`find_mount` tells which file system a folder is on: whether it reports changes, and whether it is still the same one.

A network mount that goes away leaves the folder it was mounted over: empty, writable, and the wrong one.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefd.daemon.machine.files import follow_links

SILENT = re.compile(
    r"nfs\d?|cifs|smb\w*|9p|afs|afpfs|ncpfs|ceph|glusterfs|lustre|gpfs|beegfs|ocfs2|gfs2?|coda|webdav|davfs2?"
    r"|vboxsf|vmhgfs|prl_fs|virtiofs|drvfs|fakeowner|fuse(\..+)?|fusefs(_.+)?|fuse-t|macfuse|osxfuse|lifs"
)
"""File systems whose files may change elsewhere, without the kernel here being told. (`fuseblk`, a local disk, is not.)"""


@dataclass(frozen=True)
class Mount:
    """Mount is one mounted file system."""

    point: str
    """The folder it is mounted on."""
    kind: str
    """The file system's type, such as ext4 or nfs4."""
    device: str
    """What is mounted, such as /dev/sda1 or server:/export."""

    @property
    def is_silent(self) -> bool:
        """Say whether file events cannot be relied on."""
        return SILENT.fullmatch(self.kind) is not None

    def describe(self) -> str:
        """Describe the mount, such as `nfs4 from server:/export`."""
        return f"{self.kind} from {self.device}" if self.device else self.kind

    def to_json(self) -> dict[str, str]:
        """Return the fields as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Mount | None:
        """Make a mount of what `to_json` returned; None for anything else."""
        try:
            return cls(**value)
        except TypeError:
            return None


def list_mounts() -> list[Mount]:
    """List every mount, the later of two on one folder last; none where the system does not tell.

    Only the kernel's list is read, so a mount that hangs does not block.
    """
    try:
        import psutil  # here: most commands never ask

        partitions = psutil.disk_partitions(all=True)
    except OSError:  # no /proc, in a chroot
        return []
    return [Mount(partition.mountpoint, partition.fstype, partition.device) for partition in partitions]


def find_mount(path: Path) -> Mount | None:
    """Return the mount that holds `path`, links followed; None where the system does not tell."""
    real = follow_links(path)
    holding = [mount for mount in list_mounts() if real.is_relative_to(mount.point)]
    return max(reversed(holding), key=lambda mount: len(Path(mount.point).parts), default=None)


def is_mounted(mount: Mount) -> bool:
    """Return whether something is mounted where `mount` was."""
    return any(each.point == mount.point for each in list_mounts())
