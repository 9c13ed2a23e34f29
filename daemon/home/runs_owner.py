"""`claim_runs` keeps two homes from one `runs/`, which a link or a mount may make the same folder.

Each would take the other's jobs for jobs that were copied in, remove them with `prefd clean`, and write its own numbers and
cancellations over the other's. The folder says whose it is in `.home.json`; a mark that was copied in with other files names
another folder, and counts for nothing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from prefd.daemon.errors import PrefdError
from prefd.daemon.home.identity import HomeIdentity, HomePlace, is_same_folder, read_identity
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.machine.host import find_host_id

MARK = ".home.json"


class RunsShared(PrefdError):
    """The folder of the jobs' own folders is another home's too; the message names that home and says what to do."""

    http_status = 409


@dataclass(frozen=True)
class RunsOwner:
    """RunsOwner says which home a `runs/` is of."""

    home: str
    """The home's id."""
    root: str
    host: str
    """What tells the home's machine from others."""
    place: HomePlace
    """The folder `runs/` itself."""

    @classmethod
    def read(cls, runs: Path) -> RunsOwner | None:
        """Return whose the folder is; None where it has no mark, or one that was copied into it."""
        document = read_json(runs / MARK)
        match document:
            case {"home": str() as home, "root": str() as root, "host": str() as host, "place": dict() as place}:
                where = HomePlace.from_json(place)
                if where is not None and where.is_folder_of(HomePlace.find(runs)):
                    return cls(home, root, host, where)
        return None

    def is_rival_of(self, home: Home, identity: HomeIdentity) -> bool:
        """Return whether that is another home than this one, and as far as can be told one that still has the folder."""
        if self.home == identity.id or is_same_folder(Path(self.root), home.root):
            return False
        if self.host != find_host_id():
            return self.home not in identity.ids
        there = read_identity(Path(self.root))
        return there is not None and self.home in there.ids and is_same_folder(Path(self.root, "runs"), home.runs)


def claim_runs(home: Home) -> None:
    """Mark the home's `runs/` as its own. Raises RunsShared where it is another home's. A home without an id has no claim."""
    identity = read_identity(home.root)
    if identity is None or not home.runs.is_dir():
        return
    owner = RunsOwner.read(home.runs)
    if owner is not None and owner.is_rival_of(home, identity):
        raise RunsShared(describe_sharing(home, owner))
    ours = RunsOwner(identity.id, str(home.root), find_host_id(), HomePlace.find(home.runs))
    if owner != ours:
        with suppress(OSError):  # a full disk: the next start marks it
            write_json(home.runs / MARK, asdict(ours))


def describe_sharing(home: Home, owner: RunsOwner) -> str:
    """Say in words whose `runs/` it is, and what to do."""
    machine = "" if owner.host == find_host_id() else f" on {owner.host}"
    link = f", by the link {home.runs}" if home.runs.is_symlink() else ""
    return (
        f"{home.runs.resolve()} is the runs/ of the home {owner.root}{machine} too{link}: two homes would overwrite each "
        f"other's records there, and nothing was changed. Give this home a runs/ of its own "
        f"(`mv {home.runs} {home.runs}.other && mkdir {home.runs}`); "
        f"if that home is no more, delete {home.runs / MARK}"
    )
