"""Checkpoints are the weights that a model's worker saved by name: `tinker://MODEL/weights/NAME` and `…/sampler_weights/NAME`.

The worker writes the folders; here they are found, listed and deleted, and checkpoints.json beside them says when each ends.
"""

from __future__ import annotations

import re
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefd.daemon.live.refusal import RefusedCall
from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.runs.live_folder import LiveFolder

SCHEME = "tinker://"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MODEL_ID = re.compile(r"[0-9a-f]{32}:(?:train|sample):[0-9]{1,9}")
KINDS = {"weights": "training", "sampler_weights": "sampler"}
"""The folders of saved weights, and what the protocol calls them."""
NOTES = "checkpoints.json"
DELETED = ".deleted-"
"""How the folder of a checkpoint begins that is being deleted."""


@dataclass(frozen=True)
class CheckpointPath:
    """CheckpointPath is a parsed `tinker://` path."""

    model_id: str
    kind: str
    """One of KINDS."""
    name: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.model_id}/{self.kind}/{self.name}"

    def locate(self, folder: LiveFolder) -> Path:
        """Return the folder of the weights, in that of the model."""
        return folder.root / self.kind / self.name


def check_name(name: str) -> str:
    """Return a checkpoint's name. Raises RefusedCall (400) for one that no folder shall have."""
    if NAME.fullmatch(name):
        return name
    raise RefusedCall(
        400,
        f"{name[:100]!r} is no name of a checkpoint: it has at most 100 letters, digits, '.', '-' and '_', and begins with "
        "a letter or a digit",
    )


def parse_path(text: str) -> CheckpointPath:
    """Parse `tinker://MODEL/weights/NAME`. Raises RefusedCall (400)."""
    parts = text.removeprefix(SCHEME).split("/")
    if text.startswith(SCHEME) and len(parts) == 3 and MODEL_ID.fullmatch(parts[0]) and parts[1] in KINDS:
        return CheckpointPath(parts[0], parts[1], check_name(parts[2]))
    raise RefusedCall(
        404, f"there is no checkpoint {text[:200]}; one is called {SCHEME}MODEL/weights/NAME or …/sampler_weights/NAME"
    )


def note_checkpoint(
    folder: LiveFolder, path: CheckpointPath, ttl_seconds: float | None, metadata: Mapping[str, Any] | None
) -> None:
    """Write down when a checkpoint that is about to be saved ends, and what its client says of it. Raises OSError."""
    _change_note(folder, path, {"ends_at": _end_after(ttl_seconds), "user_metadata": dict(metadata or {})})


def set_end(folder: LiveFolder, path: CheckpointPath, ttl_seconds: float | None) -> None:
    """Have a checkpoint end after so many seconds, or never. Raises RefusedCall (404) where there is none, and OSError."""
    if not path.locate(folder).is_dir():
        raise RefusedCall(404, f"there is no checkpoint {path}")
    _change_note(folder, path, {"ends_at": _end_after(ttl_seconds)})


def _end_after(ttl_seconds: float | None) -> float | None:
    return None if ttl_seconds is None else time.time() + ttl_seconds


def _change_note(folder: LiveFolder, path: CheckpointPath, changes: Mapping[str, Any]) -> None:
    notes = _read_notes(folder)
    key = f"{path.kind}/{path.name}"
    notes[key] = {**notes.get(key, {}), **changes}
    write_json(folder.root / NOTES, notes)


def list_checkpoints(folder: LiveFolder, model_id: str) -> list[dict[str, Any]]:
    """List a model's checkpoints as the protocol describes them, the oldest first."""
    notes = _read_notes(folder)
    checkpoints = []
    for kind, word in KINDS.items():
        for path in _list_folders(folder.root / kind):
            note = notes.get(f"{kind}/{path.name}", {})
            try:
                saved_at = path.stat().st_mtime
                size = sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
            except FileNotFoundError:  # deleted meanwhile
                continue
            checkpoints.append(
                {
                    "checkpoint_id": f"{kind}/{path.name}",
                    "checkpoint_type": word,
                    "time": format_time(saved_at),
                    "tinker_path": str(CheckpointPath(model_id, kind, path.name)),
                    "size_bytes": size,
                    "user_metadata": note.get("user_metadata") or None,
                    "expires_at": None if note.get("ends_at") is None else format_time(note["ends_at"]),
                }
            )
    return sorted(checkpoints, key=lambda each: str(each["time"]))


def delete_checkpoint(folder: LiveFolder, path: CheckpointPath) -> None:
    """Delete a checkpoint. Raises RefusedCall (404) where there is none."""
    target = path.locate(folder)
    if not target.is_dir() or target.is_symlink():
        raise RefusedCall(404, f"there is no checkpoint {path}")
    aside = target.with_name(f"{DELETED}{uuid.uuid4().hex}")
    target.rename(aside)  # whole at once: nobody finds half of one
    for left in aside.parent.glob(f"{DELETED}*"):
        shutil.rmtree(left)


def delete_ended(folder: LiveFolder, model_id: str, now: float) -> list[str]:
    """Delete the checkpoints whose time is over, and return their paths."""
    deleted = []
    notes = _read_notes(folder)
    for key, note in list(notes.items()):
        if note.get("ends_at") is None or note["ends_at"] > now:
            continue
        path = CheckpointPath(model_id, *key.split("/", 1))
        if path.locate(folder).is_dir():
            delete_checkpoint(folder, path)
            deleted.append(str(path))
        del notes[key]
    if deleted:
        write_json(folder.root / NOTES, notes)
    return deleted


def format_time(moment: float) -> str:
    """Return a Unix time as the protocol writes it."""
    return datetime.fromtimestamp(moment, UTC).isoformat()


def _list_folders(folder: Path) -> Sequence[Path]:
    return [path for path in folder.iterdir() if NAME.fullmatch(path.name) and path.is_dir()] if folder.is_dir() else []


def _read_notes(folder: LiveFolder) -> dict[str, dict[str, Any]]:
    notes = read_json(folder.root / NOTES)
    return notes if isinstance(notes, dict) else {}
