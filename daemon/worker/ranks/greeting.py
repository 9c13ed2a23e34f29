"""Greeting is how ranks on several machines get to know each other: versions first, then the models' content.

None computes with what another has not: what differs is refused, with the host, both values and the remedy.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from typing import Any

from prefd.cache.fingerprint import find_differences
from prefd.cache.store import ReferenceCache
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.snapshot import list_versions
from prefd.daemon.worker.models import loading, memory
from prefd.daemon.worker.models.identity import identify
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.ranks.channel import Channel
from prefd.daemon.worker.ranks.frames import Frame
from prefd.plugins.manager import ENTRY_POINT, Plugins

SHOWN = 12
"""Characters of a checksum that a message shows."""


class Greeting:
    """Greeting answers the first rank's questions. `sources`: the job's models, by what they are in it."""

    def __init__(self, channel: Channel, sources: Mapping[str, ModelSource], home: Home, plugins: Plugins) -> None:
        self.channel = channel
        self.sources = sources
        self.home = home
        self.plugins = plugins

    def follow(self, command: Frame) -> bool:
        """Answer `command`, where it is such a question; return whether it was. Raises JobError for a model that is not there."""
        match command.head["do"]:
            case "greet":
                facts = {"facts": list_facts(), "plugins": list_plugins(self.plugins), "memory": memory.machine()}
                self.channel.answer(facts)
            case "identify":
                with self.channel.beating():  # all of its weights may have to be read
                    identity = identify_model(self.sources[command.head["what"]], self.home)
                self.channel.answer({"identity": identity})
            case _:
                return False
        return True


def list_facts() -> dict[str, str]:
    """List what must be the same wherever a rank runs, without looking at a model."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python, **list_versions(), "device": loading.device()}


def describe_machine() -> str:
    """Describe this machine, for people."""
    return f"{platform.system()} {platform.machine()}"


def list_plugins(plugins: Plugins) -> dict[str, str]:
    """List the plugins that are installed as packages, with their versions: those of config.toml are sent."""
    return {each.name: each.version or "" for each in plugins.plugins if each.source == ENTRY_POINT}


def identify_model(source: ModelSource, home: Home) -> Mapping[str, Any]:
    """Identify a model by its content. Raises JobError where it is not there, or cannot be read."""
    memo = ReferenceCache(home.cache).memo
    return identify(source, loading.compute_dtype(source), loading.device(), memo).identity


def explain_other_facts(where: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """Say which version, or which device, is another at `where` than here; None where all are the same."""
    for name in here:
        if there.get(name) == here[name]:
            continue
        values = f"{there.get(name) or 'none'} there, {here[name]} here"
        if name == "device":
            return f'{where} computes on another device ({values}), and so to other numbers: set worker.device = "cpu" for all, or leave it out of [distributed] hosts'
        remedy = (
            "give both the same Python, which [distributed] hosts may name as `python`"
            if name == "python"
            else f"install the same there: pip install '{name}=={here[name]}'"
        )
        return f"{where} has another {name}: {values}; {remedy}"
    return None


def explain_other_model(
    where: str, model: str, path: str, there: Mapping[str, Any], here: Mapping[str, Any]
) -> str | None:
    """Say in what a model differs at `where`, where its path is `path`, from the one here; None where it is the same."""
    differing = find_differences(there, here)
    if not differing:
        return None
    name = "weights" if "weights" in differing else differing[0]
    values = f"{_show(there.get(name))} there, {_show(here.get(name))} here"
    return (
        f"{where}: {path} has other {name.replace('_', ' ')} than {model} here ({values}); copy the folder again, "
        "or name the right one in `folders` of that host"
    )


def _show(value: Any) -> str:
    text = str(value)
    return f"{text[:SHOWN]}…" if len(text) > 2 * SHOWN else text
