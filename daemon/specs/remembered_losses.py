"""The losses' names as the home last had them, for those who cannot wait for a process that imports MLX: a shell at <TAB>."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import read_json, write_json


def remember_losses(home: Home, summaries: Mapping[str, str]) -> None:
    """Write down name → summary, in a home that is there and can be written."""
    path = home.run / "losses.json"
    if home.run.is_dir() and read_json(path) != summaries:
        with suppress(OSError):
            write_json(path, dict(summaries))


def remembered_losses(home: Home) -> dict[str, str]:
    """Name → summary; empty where they were never listed."""
    value: Any = read_json(home.run / "losses.json")
    return {str(name): str(about) for name, about in value.items()} if isinstance(value, dict) else {}
