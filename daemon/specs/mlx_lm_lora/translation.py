"""Translation is a flat config of mlx-lm-lora as a spec's document, and what its author is told about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from prefd.daemon.specs.mlx_lm_lora.settings import NAMES
from prefd.daemon.text.text_fault import Position, Positions, TextFault
from prefd.daemon.text.wording import Path, format_path, format_value

PLACE = re.compile(r"\b(?:data|loss|reference|training|output)(?:\.\w+)+")
"""A setting of a spec, in a message."""


@dataclass
class Translation:
    """Translation is a flat config as a spec's `document`, with the notes and faults for the file's author."""

    document: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    """(name in the file, what is wrong with it)."""
    assumed: list[str] = field(default_factory=list)
    """`name value` of what the file leaves out and the result depends on."""
    names: dict[Path, str] = field(default_factory=lambda: {path: name for name, path in NAMES.items()})
    """Where each of the document's settings came from."""
    spellings: Mapping[str, str] = field(default_factory=dict)
    """The names in the file of settings that have several."""

    def put(self, name: str, value: Any, path: Path | None = None) -> None:
        """Sets what `name` stands for, or what is at `path`, which `name` (dotted, inside a block) decides."""
        *above, last = path or NAMES[name]
        block = self.document
        for part in above:
            block = block.setdefault(str(part), {})
        block[str(last)] = value
        self.names[path or NAMES[name]] = self.spellings.get(name, name)

    def move_positions(self, positions: Positions) -> dict[Path, Position]:
        """Returns the position of each of the document's settings, from the positions of the file's."""
        return {
            (*place, *path[len(parts) :]): position
            for place, parts in ((place, tuple(name.split("."))) for place, name in self.names.items())
            for path, position in positions.items()
            if path[: len(parts)] == parts
        }

    def rename(self, fault: TextFault) -> TextFault:
        """Rewrites a fault of the document in the names of the file."""
        message = PLACE.sub(lambda match: self.find_name(match[0]), fault.message)
        return replace(fault, message=message, path=self.find_name(fault.path))

    def read_switch(self, settings: Mapping[str, Any], name: str, default: bool = False) -> bool:
        """Returns a setting that is true or false; what is neither is a fault, and counts as `default`."""
        value = settings.get(name, default)
        if not isinstance(value, bool):
            self.faults.append((name, f"expected true or false, got {format_value(value)}"))
            return default
        return value

    def find_name(self, place: str) -> str:
        """Returns what the file calls a place of the document; `place` itself, where the file has no name for it."""
        for path in sorted(self.names, key=len, reverse=True):
            if place == format_path(path) or place.startswith(f"{format_path(path)}."):
                return self.names[path] + place[len(format_path(path)) :]
        return place
