"""Catalog is what losses and plugins there are, as a worker has listed them (catalog_listing.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefd.daemon.errors import PrefdError


class CatalogError(PrefdError):
    """The catalogue could not be made. The message is for the user who starts the daemon or a job."""

    http_status = 503


@dataclass(frozen=True)
class LossInfo:
    """One loss, with what a spec may set of it."""

    name: str
    params: Mapping[str, Mapping[str, Any]]
    """parameter → {"type", "default", "exclusiveMinimum"?, "exclusiveMaximum"?, "minimum"?, "maximum"?}"""
    needs_reference: bool
    batch_independent: bool
    """False where a pair's loss depends on the other pairs it is computed with."""
    summary: str
    doc: str
    plugin: str


@dataclass(frozen=True)
class PluginInfo:
    """One plugin, with what it brings; `error` where it could not be loaded."""

    name: str
    version: str | None
    source: str
    losses: Sequence[str]
    formats: Sequence[str]
    error: str | None


@dataclass(frozen=True)
class Catalog:
    """Every loss by its name, and every plugin."""

    losses: Mapping[str, LossInfo]
    plugins: Sequence[PluginInfo]

    def need_reference(self, names: Iterable[str]) -> bool:
        """Whether any of the losses of these names, all of them known here, compares with the reference."""
        return any(self.losses[name].needs_reference for name in names)

    @classmethod
    def from_json(cls, value: Any) -> Catalog:
        """Raises CatalogError when `value` is not what the worker prints."""
        try:
            losses = {
                name: LossInfo(
                    name,
                    params=each["params"],
                    needs_reference=each["needs_reference"],
                    batch_independent=each["batch_independent"],
                    summary=each["summary"],
                    doc=each["doc"],
                    plugin=each["plugin"],
                )
                for name, each in value["losses"].items()
            }
            plugins = [PluginInfo(**plugin) for plugin in value["plugins"]]
        except (TypeError, KeyError, AttributeError) as error:
            raise CatalogError(f"the worker's catalogue is not as expected: {error!r}") from None
        return cls(losses, plugins)
