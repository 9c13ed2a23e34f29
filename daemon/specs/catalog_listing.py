"""Lists losses and plugins by asking a short-lived child: the daemon imports no plugin and no mlx.

The child costs a second or two (it imports mlx), so its answer is kept until something it depends on has changed:
the settings, a local plugin file, or a folder that distributions are installed into.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, ConfigError
from prefd.daemon.machine.processes import UTF8_STREAMS, WORKER
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.specs.catalog import Catalog, CatalogError
from prefd.daemon.specs.remembered_losses import remember_losses
from prefd.daemon.text.wording import clip

TIMEOUT_SECONDS = 120.0
TRIES = 3
"""A child that was killed (for its memory, say) has shown nothing wrong with the plugins: it is asked again, so often in all."""
Stamp = tuple[tuple[str, int, int], ...]
"""(path, mtime in ns, size) of everything a catalogue depends on."""
_catalogs: dict[tuple[Path, tuple[str, ...]], tuple[Stamp, Catalog]] = {}
"""Home and worker → the last answer, and what it depended on as it was before the child looked."""
_listing_lock = threading.Lock()


def load_catalog(home: Home, worker: Sequence[str] = WORKER) -> Catalog:
    """Lists losses and plugins; this process asks the child again only when a plugin may have changed. Raises CatalogError."""
    key = (home.root, tuple(worker))
    with _listing_lock:
        stamp = _take_stamp(home)  # before the child looks, so that a change meanwhile is seen
        entry = _catalogs.get(key)
        if entry is None or entry[0] != stamp:
            entry = _catalogs[key] = stamp, _run_listing(home, worker)
        return entry[1]


class Losses:
    """Keeps the catalogue of a daemon. `latest` may be out of date; `error` says why there is none now."""

    def __init__(self, home: Home, worker: Sequence[str] = WORKER) -> None:
        self.home = home
        self.worker = worker
        self.latest: Catalog | None = None
        self.error: str | None = None

    async def list_ahead(self) -> None:
        """Lists the losses before anyone needs them; where that fails, `error` says why."""
        with suppress(CatalogError):
            await self.now()

    async def now(self) -> Catalog:
        """Returns the catalogue as it is now. Raises CatalogError."""
        try:
            self.latest = await run_in_thread(load_catalog, self.home, self.worker)
        except CatalogError as error:
            self.error = str(error)
            raise
        self.error = None
        return self.latest


def _run_listing(home: Home, worker: Sequence[str]) -> Catalog:
    command = [*worker, "catalog", "--home", str(home.root)]
    try:
        for _ in range(TRIES):
            child = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=os.environ | UTF8_STREAMS,
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
        lines = [line for line in child.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        last = clip(lines[-1], 300) if lines else "it said nothing"
        raise CatalogError(f"listing the plugins failed (exit code {child.returncode}): {last}")
    try:
        value = json.loads(child.stdout)
    except ValueError:
        text = child.stdout.decode("utf-8", "replace")
        raise CatalogError(f"listing the plugins gave no JSON: {clip(text, 200)!r}: does one print?") from None
    catalog = Catalog.from_json(value)
    remember_losses(home, {name: loss.summary for name, loss in catalog.losses.items()})
    return catalog


def _take_stamp(home: Home) -> Stamp:
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
