"""Which losses and plugins there are, asked of a short-lived child: the daemon imports no plugin and no mlx.

The child costs a second or two (it imports mlx), so its answer is kept until something it depends on has changed:
the settings, a local plugin file, or a folder that distributions are installed into.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefd.daemon.config import Config, ConfigError
from prefd.daemon.errors import PrefdError
from prefd.daemon.home import Home
from prefd.daemon.process import WORKER
from prefd.daemon.remembered import remember_losses
from prefd.daemon.spec import LossSpec
from prefd.daemon.text import clip
from prefd.daemon.threads import in_thread

TIMEOUT_SECONDS = 120.0
TRIES = 3
"""A child that was killed (for its memory, say) has shown nothing wrong with the plugins: it is asked again, so often in all."""

Stamp = tuple[tuple[str, int, int], ...]
"""(path, mtime in ns, size) of everything a catalogue depends on."""


class CatalogError(PrefdError):
    """The catalogue could not be made. The message is for the user who starts the daemon or a job."""

    http_status = 503


@dataclass(frozen=True)
class LossInfo:
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
    name: str
    version: str | None
    source: str
    losses: Sequence[str]
    formats: Sequence[str]
    error: str | None


@dataclass(frozen=True)
class Catalog:
    losses: Mapping[str, LossInfo]
    plugins: Sequence[PluginInfo]
    home: Home | None = field(default=None, compare=False)
    stamp: Stamp = field(default=(), compare=False)

    def stale(self) -> bool:
        """Whether plugins may have been installed, removed or edited since."""
        return self.home is not None and self.stamp != _stamp(self.home)

    def need_reference(self, losses: Iterable[LossSpec]) -> bool:
        """Whether any of `losses`, all of them known here, compares with the reference."""
        return any(self.losses[loss.name].needs_reference for loss in losses)

    @classmethod
    def from_json(cls, value: Any, home: Home | None = None, stamp: Stamp = ()) -> Catalog:
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
        return cls(losses, plugins, home, stamp)


_known: dict[tuple[Path, tuple[str, ...]], Catalog] = {}
_one_at_a_time = threading.Lock()


def load_catalog(home: Home, worker: Sequence[str] = WORKER) -> Catalog:
    """Run the child once; later calls in this process get the same catalogue until it is stale. Raises CatalogError."""
    key = (home.root, tuple(worker))
    with _one_at_a_time:
        known = _known.get(key)
        if known is None or known.stale():
            known = _known[key] = _ask(home, worker)
        return known


class Losses:
    """The catalogue as a daemon knows it. `latest` may be stale; `error` says why there is none now."""

    def __init__(self, home: Home, worker: Sequence[str] = WORKER) -> None:
        self.home = home
        self.worker = worker
        self.latest: Catalog | None = None
        self.error: str | None = None

    async def now(self) -> Catalog:
        """Raises CatalogError."""
        try:
            self.latest = await in_thread(load_catalog, self.home, self.worker)
        except CatalogError as error:
            self.error = str(error)
            raise
        self.error = None
        return self.latest


def _ask(home: Home, worker: Sequence[str]) -> Catalog:
    stamp = _stamp(home)  # before the child looks, so that a change meanwhile is seen
    command = [*worker, "catalog", "--home", str(home.root)]
    try:
        for _ in range(TRIES):
            child = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT_SECONDS,
                start_new_session=True,  # a Ctrl-C at the terminal is the daemon's to handle
                check=False,
            )
            if child.returncode >= 0:
                break
    except subprocess.TimeoutExpired:
        raise CatalogError(f"listing the plugins took longer than {TIMEOUT_SECONDS:g} s: does one hang?") from None
    except OSError as error:
        raise CatalogError(f"cannot run {command[0]}: {error.strerror or error}") from error
    if child.returncode != 0:
        said = [line for line in child.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        last = clip(said[-1], 300) if said else "it said nothing"
        raise CatalogError(f"listing the plugins failed (exit code {child.returncode}): {last}")
    try:
        value = json.loads(child.stdout)
    except ValueError:
        text = child.stdout.decode("utf-8", "replace")
        raise CatalogError(f"listing the plugins gave no JSON: {clip(text, 200)!r}: does one print?") from None
    catalog = Catalog.from_json(value, home, stamp)
    remember_losses(home, {name: loss.summary for name, loss in catalog.losses.items()})
    return catalog


def _stamp(home: Home) -> Stamp:
    try:
        files = Config.load(home).plugin_files(home)
    except ConfigError:
        files = []
    watched = [home.config, *files, *(Path(entry) for entry in sys.path if entry)]
    stamps = []
    for path in watched:
        try:
            info = os.stat(path)
            stamps.append((str(path), info.st_mtime_ns, info.st_size))
        except OSError:
            stamps.append((str(path), 0, 0))
    return tuple(stamps)
