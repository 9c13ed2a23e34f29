"""HomeIdentity tells a home from its copies: the id that lies in it, and the folder that the id was given to.

A folder that is renamed is the same folder; one that was copied, restored from a backup, or moved to another file system is
another one with the same files. Then nobody can tell for certain whether the first one still lives somewhere, so the other
takes an id of its own, and remembers whose it had.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from prefd.daemon.machine.birth import read_birth
from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.machine.mounts import find_mount

FILE = "home.json"
RENUMBERED = ("exfat", "vfat", "msdos", "ntfs", "fuse", "cifs", "smb", "9p")
"""File systems, by how their names begin, that give a folder another number each time they are mounted."""


@dataclass(frozen=True)
class HomePlace:
    """HomePlace says where a folder lies, and what tells it from a copy of itself."""

    root: str
    device: int
    inode: int
    volume: int
    """The file system's id, which most keep when they are mounted again and the device gets another number."""
    host: str
    born: float | None = None
    """When the folder was made (Unix time), where the system tells: a folder that is made later may get its inode."""

    @classmethod
    def find(cls, root: Path) -> HomePlace:
        """Return the place of the folder `root`. Raises OSError."""
        info = os.stat(root)
        return cls(str(root), info.st_dev, info.st_ino, os.statvfs(root).f_fsid, platform.node(), read_birth(root))

    @classmethod
    def from_json(cls, value: Any) -> HomePlace | None:
        """Make a place of what `asdict` gave; None for anything else."""
        try:
            return cls(**value)
        except TypeError:
            return None

    def is_folder_of(self, now: HomePlace) -> bool:
        """Return whether the folder at `now` is the one that was at this place, whatever it is called."""
        if None not in (self.born, now.born) and self.born != now.born:
            return False
        same_path = self.root == now.root or is_same_folder(Path(self.root), Path(now.root))
        if self.inode == now.inode and (self.device == now.device or self.volume == now.volume or same_path):
            return True
        mount = find_mount(Path(now.root)) if same_path else None
        return mount is not None and mount.kind.startswith(RENUMBERED)


@dataclass(frozen=True)
class HomeIdentity:
    """HomeIdentity is the id of a home, as `home.json` holds it."""

    id: str
    place: HomePlace
    former: tuple[str, ...] = ()
    """The ids of the homes that this one was copied from, the latest last: jobs of theirs are jobs of this one too."""
    copied_from: str = ""
    """Where the last of them was."""
    settled: bool = True
    """Whether the jobs that this home has in common with it have been held."""
    specs: Mapping[str, int] = field(default_factory=dict)
    """The files that lay in `jobs/` when this home was found to be a copy, by name with their inodes."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids under which this home's own files may have been written."""
        return (*self.former, self.id)

    def write(self, root: Path) -> None:
        """Write the identity into the home, whole and on disk. Raises OSError."""
        write_json(root / FILE, asdict(self))


def read_identity(root: Path) -> HomeIdentity | None:
    """Return the identity that lies in the home `root`; None where there is none that can be read."""
    document = read_json(root / FILE)
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        return None
    place = HomePlace.from_json(document.get("place"))
    if place is None:
        return None
    former = tuple(map(str, document.get("former", ())))
    copied_from, settled = str(document.get("copied_from", "")), bool(document.get("settled", True))
    specs = {str(name): int(inode) for name, inode in dict(document.get("specs", {})).items()}
    return HomeIdentity(document["id"], place, former, copied_from, settled, specs)


def begin_identity(root: Path) -> HomeIdentity:
    """Give a home that has no id a new one, and return it. Raises OSError."""
    identity = HomeIdentity(_make_id(), HomePlace.find(root))
    identity.write(root)
    return identity


def renew_identity(root: Path, old: HomeIdentity, jobs_folder: Path) -> HomeIdentity:
    """Give a home whose files came with the id of another folder an id of its own, not settled yet. Raises OSError.

    `jobs_folder`: the folder of dropped specs, each of which lies in the other one too.
    """
    specs: dict[str, int] = {}
    with suppress(FileNotFoundError), os.scandir(jobs_folder) as entries:
        specs = {entry.name: entry.inode() for entry in entries if entry.is_file(follow_symlinks=False)}
    identity = HomeIdentity(_make_id(), HomePlace.find(root), old.ids, old.place.root, settled=False, specs=specs)
    identity.write(root)
    return identity


def _make_id() -> str:
    """Make the id of a new home."""
    from ulid import ULID  # here: reading an id needs none of it

    return str(ULID())


def original_lives(copy: HomeIdentity) -> bool:
    """Return whether the home that `copy` was copied from is still where it was."""
    original = read_identity(Path(copy.copied_from)) if copy.copied_from else None
    return (
        original is not None
        and bool(set(original.ids) & set(copy.former))
        and not is_same_folder(Path(copy.copied_from), Path(copy.place.root))
    )


def explain_copy(copy: HomeIdentity) -> str:
    """Say in words where a copy's jobs come from, and why they do not simply go on."""
    before = copy.copied_from
    if not before:
        return "this home came without its home.json: whether another home runs its jobs cannot be told"
    if original_lives(copy):
        return f"this home is a copy of {before}, which is still there and has these jobs too"
    if before == copy.place.root:
        return f"this home was put back here from a copy: whether {before} lives on under another name cannot be told"
    return f"this home was copied or moved here from {before}: whether its jobs run elsewhere too cannot be told"


def is_same_folder(one: Path, other: Path) -> bool:
    """Return whether two paths lead to one folder, by links or in another spelling; False where one is not there."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


class FolderId(NamedTuple):
    """FolderId tells a folder, or a file, from another that is put in its place."""

    device: int
    inode: int


def read_folder_id(folder: Path) -> FolderId | None:
    """Return the device and inode of a folder, which tell it from another of the same name; None where there is none.

    Raises OSError for a folder that cannot be looked at.
    """
    try:
        info = os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return FolderId(info.st_dev, info.st_ino)


@dataclass(frozen=True)
class HomeFolder:
    """HomeFolder is the folder that a process began in: later another one, a copy of it perhaps, may lie at its path."""

    root: Path
    id: FolderId | None

    @classmethod
    def find(cls, root: Path) -> HomeFolder:
        """Find the folder that is there now. Raises OSError where it cannot be looked at."""
        return cls(root, read_folder_id(root))

    def describe_loss(self) -> str | None:
        """Say in words what became of it; None while it is there."""
        try:
            now = read_folder_id(self.root)
        except OSError as error:
            return f"the home {self.root} cannot be looked at any more: {error.strerror or error}"
        if now is None:
            return f"the home {self.root} is not there any more: it was removed, renamed or unmounted"
        if now != self.id:
            return f"the home {self.root} is another folder now: this daemon's was removed, renamed or unmounted"
        return None


def is_served_by(status: Mapping[str, Any], root: Path) -> bool:
    """Return whether the daemon that answered with `status` serves the very folder `root`, and not a home of its name.

    A daemon of an earlier version only names the path.
    """
    folder = status.get("home_folder")
    if folder is None:
        return is_same_folder(Path(str(status.get("home", ""))), root)
    identity = read_identity(root)
    is_named = identity is None or status.get("home_id") in ("", identity.id)
    return tuple(folder) == read_folder_id(root) and is_named
