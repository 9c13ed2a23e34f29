"""RunIdentity says whose folder `runs/<number>/` is: the number alone does not, for another home gives it out too.

It is in the job's record from the moment that the folder is made, and in the frozen spec. Folders of earlier versions say
nothing, and count as the job's whose number they have.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefd.daemon.errors import PrefdError
from prefd.daemon.machine.files import read_json
from prefd.daemon.runs.run_folder import RECORD, SPEC


class ForeignFolder(PrefdError):
    """The folder of a job, or a file in it, is another job's; the message names both and says what to do."""

    http_status = 409


@dataclass(frozen=True)
class RunIdentity:
    """RunIdentity names the job whose a folder is, as a file in it says."""

    job: str
    """The job's ULID."""
    number: int
    """The job's number in its home."""
    home: str = ""
    """The id of the home that wrote it; empty where that had none."""
    name: str = ""

    def describe(self) -> str:
        """Name the job in words."""
        name = f" ({self.name})" if self.name else ""
        home = f" of home {self.home}" if self.home else ""
        return f"job {self.number}{name}{home}, {self.job}"

    def to_json(self) -> dict[str, Any]:
        """Return the identity as spec.json holds it."""
        return asdict(self)


def read_identities(folder: Path) -> list[RunIdentity]:
    """Return what the record and the frozen spec in a folder say of whose it is; nothing in one of an earlier version."""
    return [each for each in (_read_record(folder), read_frozen_identity(folder)) if each is not None]


def read_frozen_identity(folder: Path) -> RunIdentity | None:
    """Return what the frozen spec says; None where there is none, or an earlier version wrote it."""
    document = read_json(folder / SPEC)
    match document.get("identity") if isinstance(document, dict) else None:
        case {"job": str() as job, "number": int() as number, "home": str() as home, "name": str() as name} if job:
            return RunIdentity(job, number, home, name)
    return None


def find_stranger(folder: Path, job: str) -> RunIdentity | None:
    """Return another job whose files are in the folder of the job with this ULID; None where there are none."""
    if _has(folder / RECORD, f'"ulid": "{job}"') and _has(folder / SPEC, f'"job": "{job}"'):
        return None  # without parsing both, which takes seconds for ten thousand folders
    return next((each for each in read_identities(folder) if each.job != job), None)


def require_own_folder(folder: Path, owner: RunIdentity) -> None:
    """Raise ForeignFolder where files of another job are in the folder of `owner`."""
    if (stranger := find_stranger(folder, owner.job)) is not None:
        raise ForeignFolder(
            f"{folder} holds files of {stranger.describe()}, and not only of {owner.describe()}: were they copied or "
            f"restored there? Nothing of them is used, overwritten or deleted: move the folder out of {folder.parent}, then "
            f"`prefd retry {owner.number} --fresh`"
        )


def _has(path: Path, field: str) -> bool:
    """Return whether the file has the field in it, as `write_json` writes it."""
    try:
        return field.encode() in path.read_bytes()
    except OSError:
        return False


def _read_record(folder: Path) -> RunIdentity | None:
    document = read_json(folder / RECORD)
    if not isinstance(document, dict):
        return None
    match document.get("row"):
        case {"ulid": str() as job, "id": int() as number, "name": str() as name} if job:
            return RunIdentity(job, number, str(document.get("home", "")), name)
    return None
