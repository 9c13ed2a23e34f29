"""`flatten` gives each setting of nested blocks its dotted name: `training.lora.rank`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any


def flatten(settings: Mapping[str, Any], whole: Collection[str] = (), block: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting by its dotted name. Lists are values, and so are empty blocks and the blocks that are named in `whole`."""
    for key, value in settings.items():
        name = f"{block}{key}"
        if isinstance(value, Mapping) and value and name not in whole:
            yield from flatten(value, whole, f"{name}.")
        else:
            yield name, value
