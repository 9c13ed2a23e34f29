"""What a path in a spec stands for: a file or folder, counted from the spec's own folder, or the id of something on the hub."""

from __future__ import annotations

import re
from pathlib import Path

HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")


def resolve_path(value: str, folder: Path) -> str:
    path = Path(value).expanduser()
    return str(path if path.is_absolute() else (folder / path).resolve())


def resolve_source(value: str, folder: Path) -> str:
    """A folder or file where there is one, or where `value` can only be a path; a hub id (`org/name`) otherwise."""
    local = resolve_path(value, folder)
    if Path(local).exists() or not HUB_ID.match(value):
        return local
    return value
