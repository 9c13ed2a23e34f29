"""Catalog lists the losses, reporters and plugins that a worker has found (`catalog_listing` asks one)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefd.daemon.errors import PrefdError


class CatalogError(PrefdError):
    """The catalogue could not be made. The message is for the user who starts the daemon or a job."""

    http_status = 503


@dataclass(frozen=True)
class LossInfo:
    """LossInfo describes one loss, with what a spec may set of it."""

    name: str
    params: Mapping[str, Mapping[str, Any]]
    """parameter → {"type", "default", "exclusiveMinimum"?, "exclusiveMaximum"?, "minimum"?, "maximum"?, "description"?}"""
    needs_reference: bool
    batch_independent: bool
    """False where a pair's loss depends on the other pairs it is computed with."""
    summary: str
    doc: str
    plugin: str
    purpose: str = ""
    """When to use it, in a few words; empty where it does not say."""
    unpaired: bool = False
    """Whether it learns from single answers with a label, and not from pairs."""


@dataclass(frozen=True)
class ReporterInfo:
    """ReporterInfo describes one tool that jobs can be reported to."""

    name: str
    summary: str
    plugin: str
    missing: str | None = None
    """What to install for it, in words; None where nothing is missing."""


@dataclass(frozen=True)
class PluginInfo:
    """PluginInfo describes one plugin and what it brings; `error` says why it could not be loaded."""

    name: str
    version: str | None
    source: str
    losses: Sequence[str]
    formats: Sequence[str]
    error: str | None
    reporters: Sequence[str] = ()

    @property
    def key(self) -> str:
        """Says what tells it from every other: an entry point's name, or a file's path (as `prefd.plugins.manager.Plugin.key`)."""
        return self.name if self.source in ("built-in", "entry point") else self.source


@dataclass(frozen=True)
class Catalog:
    """Catalog holds every loss and every reporter by its name, and every plugin."""

    losses: Mapping[str, LossInfo]
    plugins: Sequence[PluginInfo]
    files: Sequence[str] = ()
    """The files of the plugins' modules: when one changes, so may the losses."""
    stamp: Sequence[tuple[str, int, int]] = ()
    """How `files` were when they were listed, as `catalog_listing` takes a stamp."""
    reporters: Mapping[str, ReporterInfo] = field(default_factory=dict)

    @property
    def failed(self) -> list[PluginInfo]:
        """Returns the plugins that could not be loaded."""
        return [plugin for plugin in self.plugins if plugin.error]

    @property
    def failures(self) -> dict[str, str]:
        """Says why plugins could not be loaded, by their keys."""
        return {plugin.key: plugin.error for plugin in self.plugins if plugin.error}

    def need_reference(self, names: Iterable[str]) -> bool:
        """Returns whether any of the losses of these names, all of them known here, compares with the reference."""
        return any(self.losses[name].needs_reference for name in names)

    @classmethod
    def from_json(cls, value: Any) -> Catalog:
        """Builds the catalogue from what the worker printed. Raises CatalogError when `value` is something else."""
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
                    purpose=each.get("purpose", ""),
                    unpaired=each.get("unpaired", False),
                )
                for name, each in value["losses"].items()
            }
            plugins = [PluginInfo(**plugin) for plugin in value["plugins"]]
            reporters = {name: ReporterInfo(name, **each) for name, each in value.get("reporters", {}).items()}
        except (TypeError, KeyError, AttributeError) as error:
            raise CatalogError(f"the worker's catalogue is not as expected: {error!r}") from None
        return cls(losses, plugins, value.get("files", ()), reporters=reporters)
