"""Remembers the names of the home's losses for a shell at <TAB>, which cannot wait for a process that imports MLX."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.specs.catalog import Catalog


def remember_losses(home: Home, catalog: Catalog) -> None:
    """Writes name → summary to a file, in a home that exists and can be written.

    While a plugin cannot be loaded, the names that were known before stay: they may be its losses.
    """
    path = home.run / "losses.json"
    summaries = {name: loss.summary for name, loss in catalog.losses.items()}
    if catalog.failures:
        summaries = remembered_losses(home) | summaries
    if home.run.is_dir() and read_json(path) != summaries:
        with suppress(OSError):
            write_json(path, summaries)


def remembered_losses(home: Home) -> dict[str, str]:
    """Returns name → summary; empty where the losses were never listed."""
    value: Any = read_json(home.run / "losses.json")
    return {str(name): str(about) for name, about in value.items()} if isinstance(value, dict) else {}
