"""WatchedFolder tells whether files can be claimed from `jobs/`, which may be gone, replaced, or not mounted.

A folder that was deleted is made again. One that is not mounted is waited for: making `accepted/` in the folder under
the mount would take specs where nobody looks for them, and hide them when the mount is back. So where `jobs/` is on
another mount than the home, that is written down, and outlives the daemon. A folder on a mount may also be watched by a
daemon on another machine: the first daemon that claims from it marks it.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from ulid import ULID

from prefd.daemon.errors import PrefdError
from prefd.daemon.home.identity import FolderId, read_folder_id
from prefd.daemon.home.jobs_owner import explain_sharing, find_other_home
from prefd.daemon.home.layout import Home, HomeUnusable
from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.machine.host import find_host_id
from prefd.daemon.machine.mounts import Mount, find_mount, is_mounted
from prefd.daemon.text.wording import clip


class FolderUnusable(PrefdError):
    """FolderUnusable says why nothing can be claimed from `jobs/` now. `prefd status` shows the message."""

    http_status = 503


class WatchedFolder:
    """WatchedFolder is the watched folder of one home."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.is_remote = False
        """Whether it is on a network mount, as of the last check."""
        self._root: FolderId | None = None
        self._identity: FolderId | None = None

    @property
    def _record(self) -> Path:
        return self.home.root / "watched.json"

    def check(self) -> bool:
        """Make sure that files can be claimed from the folder. True where it is not the folder of the last check.

        Raises FolderUnusable, HomeUnusable, and OSError where the folder cannot be looked at.
        """
        folder_id = read_folder_id(self.home.jobs)
        if folder_id is not None and folder_id == self._identity and self._has_subfolders():
            return False
        self._identity = None
        self.require_home()
        self.require_mount()
        if folder_id is None and self.home.jobs.is_symlink():
            raise FolderUnusable(f"{self.home.jobs} points to {os.readlink(self.home.jobs)}, which is not there")
        for folder in (self.home.jobs, self.home.accepted, self.home.rejected):
            folder.mkdir(exist_ok=True)
        self._write_record()
        self._identity = read_folder_id(self.home.jobs)
        return True

    def forget(self) -> None:
        """Have the next check take the folder for another one."""
        self._identity = None

    def require_mount(self) -> None:
        """Raise FolderUnusable where `jobs/` was on a mount that is not there now."""
        mount = Mount.from_json(self._read_record().get("mount"))
        if mount is not None and not is_mounted(mount):
            raise FolderUnusable(
                f"{mount.point} is not mounted (it was {mount.describe()}): nothing is claimed until it is back; "
                f"to use the folder that is there now, delete {self._record}"
            )

    def require_home(self) -> None:
        """Raise HomeUnusable where the home is not the folder that it was at the first check."""
        root = read_folder_id(self.home.root)
        self._root = self._root or root
        if root is None or root != self._root:
            raise HomeUnusable(f"{self.home.root} is not the folder it was when the daemon started: is it not mounted?")

    def _has_subfolders(self) -> bool:
        return self.home.accepted.is_dir() and self.home.rejected.is_dir()

    def _read_record(self) -> dict[str, Any]:
        record = read_json(self._record)
        return record if isinstance(record, dict) else {}

    def _write_record(self) -> None:
        """Write down the mount of a folder that is not simply the home's own, and mark it. Raises FolderUnusable."""
        mount = find_mount(self.home.jobs)
        self.is_remote = mount is not None and mount.is_silent
        own_mount = None if mount is None or mount == find_mount(self.home.root) else mount.to_json()
        if own_mount is None and not self.home.jobs.is_symlink():
            self._record.unlink(missing_ok=True)
            return
        old_record = self._read_record()
        home_id = str(old_record.get("id") or ULID())
        if old_record != (record := {"id": home_id, "mount": own_mount}):
            write_json(self._record, record)
        if (other := find_other_home(self.home)) is not None:
            raise FolderUnusable(explain_sharing(self.home, other))
        self._mark_folder(home_id)

    def _mark_folder(self, home_id: str) -> None:
        """Mark the folder as this home's: another's claims without a row there would be taken for those of a crash."""
        mark = self.home.accepted / ".home"
        ours = {"id": home_id, "home": str(self.home.root), "host": platform.node(), "host_id": find_host_id()}
        theirs = read_json(mark)
        if theirs is None:
            write_json(mark, ours)
        elif isinstance(theirs, dict) and theirs.get("id") != home_id:
            key = "host_id" if "host_id" in theirs else "host"
            if (theirs.get("home"), theirs.get(key)) != (ours["home"], ours[key]):
                other_home = clip(f"{theirs.get('home')} on {theirs.get('host')}", 300)
                raise FolderUnusable(
                    f"{self.home.jobs} is watched for {other_home}; if it is not any more, delete {mark}"
                )
            write_json(mark, ours)
