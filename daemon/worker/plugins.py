"""Lists and checks plugins for the daemon in this short-lived process, so that no plugin runs in the daemon's."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Container, Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Any

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.worker_tasks.answers import CheckedProperty, LossCheck
from prefd.daemon.worker_tasks.inputs import LossCheckInput
from prefd.plugins import conformance
from prefd.plugins.errors import PluginError
from prefd.plugins.hookspecs import PROJECT
from prefd.plugins.manager import BUILT_IN, OWN, Plugin, Plugins, load_plugins

MOST_FILES = 1000
"""The daemon looks at each of them whenever it needs the losses."""


def catalog(home: Home, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """List losses with their schemas and docs, every plugin with what it brought or why it failed, and the plugins' files.

    `tell`: called with {"begin": its key, "following": the others'} before a plugin is imported, and with None as its key for
    one of prefd's own. Raises `PluginError` where prefd's own cannot be imported: then no worker can run.
    """
    settings = HandedSettings.read(home)
    before = set[str]()

    def announce(plugin: Plugin, following: Sequence[Plugin]) -> None:
        if plugin.source == BUILT_IN:
            tell({"begin": None})
            return
        before.update(before or sys.modules)
        tell({"begin": plugin.key, "following": [each.key for each in following]})

    plugins = load_plugins(settings.plugin_files, settings.excluded, announce)
    tell({"begin": None})
    for plugin in plugins.plugins:
        if plugin.source == BUILT_IN and plugin.error:
            raise PluginError(f"prefd's own {plugin.name} cannot be loaded: {plugin.error}")
    return plugins.to_json() | {"files": list_files(before) if before else []}


def list_files(before: Container[str]) -> list[str]:
    """List the files of the modules that were imported since `before`, and that someone may be editing.

    Those are the modules of plugins, wherever they lie, and all that lie outside the folders that packages are installed into.
    """
    installed = [f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    entries = metadata.entry_points(group=PROJECT)
    own = {entry.module.partition(".")[0] for entry in entries if entry.dist is None or entry.dist.name != OWN}
    files = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name in before or not isinstance(file, str):
            continue
        if name.partition(".")[0] in own or not file.startswith(tuple(installed)):
            files.append(file)
    return sorted(set(files))[:MOST_FILES]


def check_loss(home: Home, request: LossCheckInput) -> LossCheck:
    """Check one loss with the conformance kit.

    Where there is none of that name, the answer has the known losses and the plugins that failed.
    """
    plugins = _load(home)
    if request.name not in plugins.losses:
        failed = {plugin.name: plugin.error for plugin in plugins.plugins if plugin.error}
        return LossCheck(known=sorted(plugins.losses), failed=failed)
    registered = plugins.losses[request.name]
    checks = [CheckedProperty(**asdict(finding)) for finding in conformance.check_loss(registered.loss, request.name)]
    return LossCheck(loss=request.name, plugin=registered.plugin, checks=checks)


def _load(home: Home) -> Plugins:
    settings = HandedSettings.read(home)
    return load_plugins(settings.plugin_files, settings.excluded)
