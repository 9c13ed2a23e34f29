"""Resolves what a path in a spec stands for: a file or folder, counted from the spec's own folder, or the id of something on the hub."""

from __future__ import annotations

import re
from pathlib import Path

from prefd.daemon.machine.files import expand_user, follow_links

HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")


def resolve_path(value: str, folder: Path) -> str:
    """Makes `value` an absolute path, counted from `folder`; `~` is the user's home. `~nobody` is a name like any other."""
    path = expand_user(value)
    return str(path if path.is_absolute() else follow_links(folder / path))


def resolve_source(value: str, folder: Path) -> str:
    """Resolves `value` to a path where one is there or it can be nothing else; otherwise it is a hub id (`org/name`)."""
    local = resolve_path(value, folder)
    if Path(local).exists() or not HUB_ID.match(value):
        return local
    return value
