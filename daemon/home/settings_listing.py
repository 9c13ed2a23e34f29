"""`list_settings` lists each setting of config.toml with its value, its default and what it means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prefd.daemon.home.settings import Config
from prefd.daemon.text.strict_model import SpecModel


@dataclass(frozen=True)
class DescribedSetting:
    """DescribedSetting is one setting of the daemon."""

    name: str
    """With its section: `worker.nice`."""
    value: Any
    default: Any
    description: str


def list_settings(config: Config) -> list[DescribedSetting]:
    """List all settings in the order in which `prefd init` writes them."""
    return list(_walk(config, ""))


def _walk(model: SpecModel, section: str) -> Iterator[DescribedSetting]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, SpecModel):
            yield from _walk(value, f"{name}.")
        else:
            yield DescribedSetting(section + name, value, field.default, field.description or "")
