"""Remembers the names of the home's losses for a shell at <TAB>, which cannot wait for a process that imports MLX."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import read_json, write_json


def remember_losses(home: Home, summaries: Mapping[str, str], keep_earlier: bool = False) -> None:
    """Writes name → summary to a file, in a home that exists and can be written.

    With `keep_earlier`, while a plugin cannot be loaded, the names that were known before stay: they may be its losses.
    """
    path = home.run / "losses.json"
    if keep_earlier:
        summaries = remembered_losses(home) | dict(summaries)
    if home.run.is_dir() and read_json(path) != summaries:
        with suppress(OSError):
            write_json(path, dict(summaries))


def remembered_losses(home: Home) -> dict[str, str]:
    """Returns name → summary; empty where the losses were never listed."""
    value: Any = read_json(home.run / "losses.json")
    return {str(name): str(about) for name, about in value.items()} if isinstance(value, dict) else {}
