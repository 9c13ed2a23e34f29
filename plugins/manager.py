"""Finds plugins, and registers the losses, row formats and reporters that they bring.

A plugin that cannot be imported or registered is listed as a failure with its reason: it costs the jobs that name its
losses, and nothing else. A name that two plugins claim is an error for the second, never a silent replacement.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import pluggy

from prefd.plugins import hookspecs
from prefd.plugins.errors import PluginError, describe_exception
from prefd.plugins.plugin_file import import_file
from prefd.plugins.registered_reporter import RegisteredReporter
from prefd.plugins.reporting import RunReporter
from prefd.plugins.schema import LossSchema, problems, schema_of
from prefd.plugins.types import Loss, LossInput, LossOutput, RowFormat
from prefd.plugins.unpaired import adapt

BUILT_IN = "built-in"
ENTRY_POINT = "entry point"
OWN = "prefd"


class DuplicateName(PluginError, ValueError):
    """DuplicateName is raised for a name that two plugins register. The message names the first."""


class LossParameterError(PluginError, ValueError):
    """LossParameterError names parameters that a loss does not take, each with the remedy."""


@dataclass
class Plugin:
    """Plugin is one plugin with what it has registered, or the reason why it could not."""

    name: str
    source: str
    version: str | None = None
    losses: list[str] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)
    reporters: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def key(self) -> str:
        """Says what tells it from every other: an entry point's name, or a file's path."""
        return self.name if self.source in (BUILT_IN, ENTRY_POINT) else self.source


@dataclass(frozen=True)
class RegisteredLoss:
    """RegisteredLoss is a loss that a plugin has registered under a name."""

    name: str
    loss: Loss
    schema: LossSchema
    plugin: str

    def create(self, params: Mapping[str, Any], where: str = "loss") -> Callable[[LossInput], LossOutput]:
        """Makes the loss with `params` bound, an unpaired one as a function of `LossInput` too. Raises `LossParameterError` for any it does not take.

        `where` is the loss's place in the spec, for the message.
        """
        if faults := problems(self.schema.params, params):
            raise LossParameterError("; ".join(f"{where}.{name}: {message}" for name, message in faults))
        bound: Callable[[Any], Any] = (
            self.loss(**params) if isinstance(self.loss, type) else lambda x: self.loss(x, **params)
        )
        return adapt(bound) if self.schema.unpaired else bound


@dataclass
class Plugins:
    """Plugins holds all losses, row formats and reporters by name, and all plugins."""

    losses: dict[str, RegisteredLoss] = field(default_factory=dict)
    formats: dict[str, RowFormat] = field(default_factory=dict)
    reporters: dict[str, RegisteredReporter] = field(default_factory=dict)
    plugins: list[Plugin] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Returns the catalogue of losses, reporters and plugins, which the daemon reads as it imports no plugin."""
        return {
            "losses": {
                name: registered.schema.to_json() | {"plugin": registered.plugin}
                for name, registered in sorted(self.losses.items())
            },
            "reporters": {name: each.to_json() for name, each in sorted(self.reporters.items())},
            "plugins": [vars(plugin) for plugin in self.plugins],
        }


def load_plugins(
    files: Iterable[Path] = (),
    excluded: Mapping[str, str] | None = None,
    announce: Callable[[Plugin, Sequence[Plugin]], None] = lambda plugin, following: None,
) -> Plugins:
    """Loads the built-ins, then every distribution with an entry point in `prefd`, then `files` from config.toml.

    `excluded`: why a plugin is not to be loaded, by its `key`. `announce`: called with each plugin before it is loaded, and
    with those that are to follow.
    """
    plugins, reasons = Plugins(), excluded or {}
    loaders = list(_find_plugins(files))
    for index, (plugin, load) in enumerate(loaders):
        if (reason := reasons.get(plugin.key)) is not None:
            plugin.error = reason
            plugins.plugins.append(plugin)
            continue
        announce(plugin, [each for each, _ in loaders[index + 1 :] if each.key not in reasons])
        _add_plugin(plugins, plugin, load)
    return plugins


def _find_plugins(files: Iterable[Path]) -> Iterator[tuple[Plugin, Callable[[], object]]]:
    """Yields every plugin, with what imports it, in the order in which they are loaded."""
    entry_points = sorted(metadata.entry_points(group=hookspecs.PROJECT), key=lambda each: each.name)
    for is_own in (True, False):  # prefd's own names are taken first, whatever the entry points' order
        for entry in entry_points:
            distribution = entry.dist.name if entry.dist else None
            if (distribution == OWN) is is_own:
                name = f"{distribution or 'unknown'}:{entry.name}"
                version = entry.dist.version if entry.dist else None
                yield Plugin(name, BUILT_IN if is_own else ENTRY_POINT, version), entry.load
    for path in files:
        yield Plugin(path.stem, str(path)), partial(import_file, path)


@dataclass
class _Registration:
    """_Registration holds what one plugin registers, until it is known that all of it can be."""

    plugins: Plugins
    plugin: str
    losses: dict[str, RegisteredLoss] = field(default_factory=dict)
    formats: dict[str, RowFormat] = field(default_factory=dict)
    reporters: dict[str, RegisteredReporter] = field(default_factory=dict)

    def call(self, hook: Any) -> None:
        """Calls each hook of the plugin."""
        hook.register_losses(register=self._register_loss)
        hook.register_formats(register=self._register_format)
        hook.register_reporters(register=self._register_reporter)

    def _register_loss(self, name: str, loss: Loss) -> None:
        rival = self.plugins.losses.get(name) or self.losses.get(name)
        if rival is not None:
            raise DuplicateName(f"loss {name!r} is already registered by {rival.plugin}; choose another name")
        self.losses[name] = RegisteredLoss(name, loss, schema_of(name, loss), self.plugin)

    def _register_format(self, name: str, row_format: RowFormat) -> None:
        if name in self.plugins.formats or name in self.formats:
            raise DuplicateName(f"row format {name!r} is already registered; choose another name")
        self.formats[name] = row_format

    def _register_reporter(self, name: str, reporter: RunReporter) -> None:
        rival = self.plugins.reporters.get(name) or self.reporters.get(name)
        if rival is not None:
            raise DuplicateName(f"reporter {name!r} is already registered by {rival.plugin}; choose another name")
        self.reporters[name] = RegisteredReporter.check(name, reporter, self.plugin)

    def add_to(self, plugin: Plugin) -> None:
        """Adds what was registered to all plugins', and lists it in `plugin`."""
        self.plugins.losses |= self.losses
        self.plugins.formats |= self.formats
        self.plugins.reporters |= self.reporters
        plugin.losses, plugin.formats = sorted(self.losses), sorted(self.formats)
        plugin.reporters = sorted(self.reporters)


def _add_plugin(plugins: Plugins, plugin: Plugin, load: Callable[[], object]) -> None:
    """Registers the losses, formats and reporters that one plugin brings: all of them, or none."""
    registration = _Registration(plugins, plugin.name)
    plugins.plugins.append(plugin)
    process = os.getpid()
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(load(), plugin.name)
        manager.check_pending()  # a misspelt hook fails here, not by silence
        registration.call(manager.hook)
    except BaseException as error:  # noqa: BLE001  # a stranger's code: whatever it raises is its report
        plugin.error = describe_exception(error)
    finally:
        if os.getpid() != process:  # a child that it forked, and that would do all that follows a second time
            os._exit(0)
    if plugin.error is not None:
        return
    registration.add_to(plugin)
    if not (plugin.losses or plugin.formats or plugin.reporters):
        plugin.error = "it implements no hook of prefd (is @hookimpl missing?)"
