"""Keeps the catalogue of losses and plugins, which a short-lived child lists: the daemon imports no plugin and no mlx.

The child costs a second or two (it imports mlx), so its answer is kept until something it depends on has changed: the
settings, a file of a plugin or of a module that it imported, or a folder that distributions are installed into.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, ConfigError
from prefd.daemon.machine.interpreter import WORKER
from prefd.daemon.specs.catalog import Catalog, CatalogError
from prefd.daemon.specs.file_stamps import Stamp, take_stamp
from prefd.daemon.specs.kept_catalog import KeptCatalog
from prefd.daemon.specs.plugin_listing import list_plugins
from prefd.daemon.timing import USUAL, Timing


@dataclass(frozen=True)
class _Entry:
    """A catalogue, with what it depends on as that was before the child looked."""

    settings: HandedSettings
    installed: Stamp
    catalog: Catalog


_entries: dict[tuple[Path, tuple[str, ...]], _Entry] = {}
"""Home and worker → the last answer."""
_listing_lock = threading.Lock()


def load_catalog(
    home: Home,
    worker: Sequence[str] = WORKER,
    settings: HandedSettings | None = None,
    cancelled: threading.Event | None = None,
    anew: bool = False,
    timing: Timing = USUAL,
) -> Catalog:
    """List losses and plugins; the child is asked again only when a plugin may have changed. Raises CatalogError.

    `settings`: those to list with; None for those in config.toml, and what another command has listed counts then too.
    `cancelled`: once it is set, the listing is broken off. `anew`: ask the child in any case.
    """
    takes_kept = settings is None and not anew
    if settings is None:
        try:
            settings = HandedSettings.from_config(Config.load(home), home)
        except ConfigError as error:
            raise CatalogError(str(error)) from error
    key = (home.root, tuple(worker))
    with _listing_lock:
        installed = take_stamp_of_installed(home, settings)
        entry = _entries.get(key)
        if anew or entry is None or not _is_current(entry, settings, installed):
            kept_file = KeptCatalog(home, worker, settings, installed)
            if takes_kept and (catalog := kept_file.read()) is not None:
                _entries[key] = _Entry(settings, installed, catalog)
                return catalog
            began = time.time_ns()
            value = list_plugins([*worker, "catalog", "--home", str(home.root)], settings, cancelled, timing)
            catalog = Catalog.from_json(value)
            catalog = replace(catalog, stamp=take_stamp(catalog.files, began))
            kept_file.write(value, catalog)
            entry = _entries[key] = _Entry(settings, installed, catalog)
        return entry.catalog


def _is_current(entry: _Entry, settings: HandedSettings, installed: Stamp) -> bool:
    return (entry.settings, entry.installed) == (settings, installed) and not has_changed(entry.catalog)


def has_changed(catalog: Catalog) -> bool:
    """Return whether a file of a plugin's module has changed since the plugins were listed."""
    return tuple(catalog.stamp) != take_stamp(catalog.files)


def take_stamp_of_installed(home: Home, settings: HandedSettings) -> Stamp:
    """Take the stamp of the settings, the plugin files, and the folders that distributions are installed into."""
    return take_stamp([home.config, *settings.plugin_files, *map(Path, filter(None, sys.path))])
