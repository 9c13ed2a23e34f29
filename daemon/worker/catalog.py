"""What the daemon knows of plugins: told by this short-lived process, so that no plugin runs in the daemon's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefd.daemon.config import Config
from prefd.daemon.home import Home
from prefd.plugins.manager import load_plugins


def catalog(root: Path) -> dict[str, Any]:
    """Losses with their schemas and docs, and every plugin with what it brought or why it failed."""
    home = Home(root)
    return load_plugins(Config.load(home).plugin_files(home)).to_json()
