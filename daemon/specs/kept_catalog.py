"""KeptCatalog is the last catalogue that a home's plugins gave, in a file: a command need not import MLX to list them again.

It counts for as long as everything is as it was then: the settings, the worker, the folders that distributions are installed
into, the files of plugins, and prefd's own. With a plugin that cannot be loaded only the names of losses are kept, for that may
have passed. The names are for a shell at <TAB>, which cannot wait for a listing, and tell which losses there were before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.specs.catalog import Catalog, CatalogError
from prefd.daemon.specs.file_stamps import Stamp, take_stamp

if TYPE_CHECKING:  # it brings pydantic, and a shell that completes a loss's name waits for none
    from prefd.daemon.home.handed_settings import HandedSettings

OWN = Path(__file__).parents[2] / "plugins"
"""prefd's own losses, formats and reporters."""
LOSSES = "losses"
"""The key of the losses' names in the file."""


@dataclass(frozen=True)
class KeptCatalog:
    """KeptCatalog reads and writes the file of one home."""

    home: Home
    worker: Sequence[str]
    settings: HandedSettings
    installed: Stamp
    """Of the settings and of the folders that distributions are installed into."""

    def read(self) -> Catalog | None:
        """Return the catalogue with its stamp; None where none is kept, or where something has changed since."""
        record = _read_record(self.home)
        if "of" not in record or record["of"] != self._describe_conditions():
            return None
        try:
            catalog = Catalog.from_json(record.get("catalog"))
            stamp = tuple((str(path), int(changed), int(size)) for path, changed, size in record["stamp"])
        except (CatalogError, KeyError, TypeError, ValueError):
            return None
        return replace(catalog, stamp=stamp) if stamp == take_stamp(catalog.files) else None

    def write(self, value: Any, catalog: Catalog) -> None:
        """Keep `catalog`, which the worker printed as `value`, in a home that exists and can be written.

        Where a plugin cannot be loaded, the names that were known before stay: they may be its losses.
        """
        summaries = {name: loss.summary for name, loss in catalog.losses.items()}
        if catalog.failures:
            record: dict[str, Any] = {LOSSES: read_loss_names(self.home) | summaries}
        else:
            stamp = [list(each) for each in catalog.stamp]
            record = {LOSSES: summaries, "of": self._describe_conditions(), "stamp": stamp, "catalog": value}
        if self.home.run.is_dir() and _read_record(self.home) != record:
            with suppress(OSError, ValueError):
                write_json(_locate(self.home), record)

    def _describe_conditions(self) -> Any:
        """Describe what the catalogue depends on besides the files that it names, as JSON gives it back."""
        own = [OWN, *sorted(path for path in OWN.rglob("*") if path.suffix == ".py" or path.is_dir())]
        stamps = {
            "installed": self.installed,
            "own": take_stamp([path for path in own if "__pycache__" not in path.parts]),
        }
        return json.loads(json.dumps({"worker": self.worker, "settings": self.settings.environment(), **stamps}))


def read_loss_names(home: Home) -> dict[str, str]:
    """Return the losses that the home had when they were last listed, name → summary; empty where they never were."""
    names = _read_record(home).get(LOSSES)
    return {str(name): str(about) for name, about in names.items()} if isinstance(names, dict) else {}


def _read_record(home: Home) -> dict[str, Any]:
    record = read_json(_locate(home))
    return record if isinstance(record, dict) else {}


def _locate(home: Home) -> Path:
    return home.run / "catalog.json"
