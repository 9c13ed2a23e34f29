"""KeptCatalog is the last catalogue that a home's plugins gave, in a file: a command need not import MLX to list them again.

It counts for as long as everything is as it was then: the settings, the worker, the folders that distributions are installed
into, the files of plugins, and prefd's own. One with a plugin that cannot be loaded is not kept, for that may have passed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.specs.catalog import Catalog, CatalogError
from prefd.daemon.specs.file_stamps import Stamp, take_stamp

OWN = Path(__file__).parents[2] / "plugins"
"""prefd's own losses, formats and reporters."""


@dataclass(frozen=True)
class KeptCatalog:
    """KeptCatalog reads and writes the file of one home."""

    home: Home
    worker: Sequence[str]
    settings: HandedSettings
    installed: Stamp
    """Of the settings and of the folders that distributions are installed into."""

    @property
    def path(self) -> Path:
        """Return where it is kept."""
        return self.home.run / "catalog.json"

    def read(self) -> Catalog | None:
        """Return the catalogue with its stamp; None where none is kept, or where something has changed since."""
        record = read_json(self.path)
        if not isinstance(record, dict) or record.get("of") != self._describe_conditions():
            return None
        try:
            catalog = Catalog.from_json(record.get("catalog"))
            stamp = tuple((str(path), int(changed), int(size)) for path, changed, size in record["stamp"])
        except (CatalogError, KeyError, TypeError, ValueError):
            return None
        return replace(catalog, stamp=stamp) if stamp == take_stamp(catalog.files) else None

    def write(self, value: Any, catalog: Catalog) -> None:
        """Keep `catalog`, which the worker printed as `value`, in a home that exists and can be written; else forget the last one."""
        if catalog.failures:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
        elif self.home.run.is_dir():
            with suppress(OSError, ValueError):
                record = {"of": self._describe_conditions(), "stamp": catalog.stamp, "catalog": value}
                write_json(self.path, record, flush=False)

    def _describe_conditions(self) -> Any:
        """Describe what the catalogue depends on besides the files that it names, as JSON gives it back."""
        own = [OWN, *sorted(path for path in OWN.rglob("*") if path.suffix == ".py" or path.is_dir())]
        stamps = {
            "installed": self.installed,
            "own": take_stamp([path for path in own if "__pycache__" not in path.parts]),
        }
        return json.loads(json.dumps({"worker": self.worker, "settings": self.settings.environment(), **stamps}))
