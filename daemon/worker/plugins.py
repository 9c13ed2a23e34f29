"""Lists and checks plugins for the daemon in this short-lived process, so that no plugin runs in the daemon's."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config
from prefd.daemon.worker_tasks.answers import CheckedProperty, LossCheck
from prefd.daemon.worker_tasks.inputs import LossCheckInput
from prefd.plugins import conformance
from prefd.plugins.manager import Plugins, load_plugins


def catalog(root: Path) -> dict[str, Any]:
    """List losses with their schemas and docs, and every plugin with what it brought or why it failed."""
    return _plugins(root).to_json()


def check_loss(home: Home, request: LossCheckInput) -> LossCheck:
    """Check one loss with the conformance kit.

    Where there is none of that name, the answer has the known losses and the plugins that failed.
    """
    plugins = _plugins(home.root)
    if request.name not in plugins.losses:
        failed = {plugin.name: plugin.error for plugin in plugins.plugins if plugin.error}
        return LossCheck(known=sorted(plugins.losses), failed=failed)
    registered = plugins.losses[request.name]
    checks = [CheckedProperty(**asdict(finding)) for finding in conformance.check_loss(registered.loss, request.name)]
    return LossCheck(loss=request.name, plugin=registered.plugin, checks=checks)


def _plugins(root: Path) -> Plugins:
    home = Home(root)
    return load_plugins(Config.load(home).plugin_files(home))
