"""PluginTrials imports plugins each in a child of its own, at the same time, to tell which of them end or hang it.

A listing goes through the plugins one after the other, and each that hangs would hold it up for `Timing.plugin_import`. So once
one of them may, those behind it are tried too, while it has its time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from prefd.daemon.specs.catalog import CatalogError
from prefd.daemon.specs.listing_child import ChildEnd

AT_ONCE = 16
"""So many children at a time: each imports MLX, and what its plugin does."""
TryPlugin = Callable[[str, threading.Event], ChildEnd]
"""Lists one plugin alone, by its key, until the event is set."""


class PluginTrials:
    """PluginTrials tries plugins while its block lasts; those that are not through at its end are broken off."""

    def __init__(self, try_plugin: TryPlugin) -> None:
        self._try_plugin = try_plugin
        self._cancelled = threading.Event()
        self._pool = ThreadPoolExecutor(AT_ONCE, "plugin-trial")
        self._trials: dict[str, Future[ChildEnd]] = {}

    def __enter__(self) -> Self:
        """Begins with no plugin yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Breaks off what is not through, and waits until its children are gone."""
        self._cancelled.set()
        self._pool.shutdown(cancel_futures=True)

    def begin(self, keys: Iterable[str]) -> None:
        """Begins to try each of these plugins that has not been tried."""
        for key in keys:
            if key not in self._trials:
                self._trials[key] = self._pool.submit(self._try_plugin, key, self._cancelled)

    def find_culprits(self, cancelled: threading.Event) -> dict[str, str]:
        """Wait for all trials, and return what is wrong with each plugin that ends or hangs its child. Raises CatalogError."""
        culprits = {}
        for key, trial in self._trials.items():
            while not trial.done():
                if cancelled.wait(0.05):
                    raise CatalogError("listing the plugins was broken off")
            end = trial.result()
            is_through = end.begun is None and key in end.tried  # and then it could not list what it had imported
            if end.answer is None and (end.begun == key or is_through) and not end.was_killed:
                culprits[key] = end.cause
        return culprits
