"""`list_plugins` asks a child for every loss and every plugin, and finds the plugins that end or hang the child.

The culprits are named, and another child lists the rest without them: no plugin costs another one's losses. Several are found
at the same time, by trials; so are those that let themselves be imported and leave a process in which nothing works. A child that fails before it has begun with any plugin shows that no worker can run here.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.machine.processes import describe_exit
from prefd.daemon.specs.catalog import CatalogError
from prefd.daemon.specs.listing_child import ChildEnd, run_child
from prefd.daemon.specs.plugin_trials import PluginTrials
from prefd.daemon.text.wording import clip
from prefd.daemon.timing import USUAL, Timing

TRIES = 3
"""A child that was killed (for its memory, say) has shown nothing wrong with the plugins: it is asked again, so often in all."""


def list_plugins(
    command: Sequence[str],
    settings: HandedSettings,
    cancelled: threading.Event | None = None,
    timing: Timing = USUAL,
) -> Any:
    """Return the catalogue as the child prints it. Raises CatalogError where none can be had, or once `cancelled` is set.

    `command`: that of the child.
    """
    cancelled = cancelled or threading.Event()
    excluded, kills = dict(settings.excluded), 0
    keys: list[str] = []
    """Every plugin of the listing, as the first child names them."""

    def try_plugin(key: str, ended: threading.Event) -> ChildEnd:
        others = dict.fromkeys((each for each in keys if each != key), "another one is tried")
        return run_child(command, replace(settings, excluded=others | excluded), ended, timing=timing)

    def suspect(end: ChildEnd) -> None:
        note_keys(end)
        trials.begin(end.following)

    def note_keys(end: ChildEnd) -> None:
        keys.extend(key for key in end.tried if key not in keys)

    with PluginTrials(try_plugin) as trials:
        while True:
            end = run_child(command, replace(settings, excluded=excluded), cancelled, suspect, timing)
            if end.answer is not None:
                return _read_answer(end)
            if end.was_killed and (kills := kills + 1) < TRIES:
                continue
            if end.begun is None or end.begun in excluded:
                note_keys(end)
                trials.begin(key for key in end.tried if key not in excluded)
                culprits = trials.find_culprits(cancelled)
                if culprits.keys() <= excluded.keys():
                    raise CatalogError(_explain_failure(end))
                excluded |= culprits
                continue
            note_keys(end)
            if excluded.keys() != settings.excluded.keys():  # it is not the only one
                trials.begin(end.following)
            excluded |= {end.begun: end.cause} | trials.find_culprits(cancelled)
            kills = 0


def _read_answer(end: ChildEnd) -> Any:
    """Return the catalogue of a child that answered. Raises CatalogError where it could make none."""
    if isinstance(end.answer, dict) and "error" in end.answer:
        raise CatalogError(str(end.answer["error"]))
    return end.answer


def _explain_failure(end: ChildEnd) -> str:
    """Say how a child failed that had not begun with any plugin."""
    if end.overdue is not None:
        return f"listing the plugins took longer than {end.overdue:g} s: does one hang?"
    if end.returncode:
        return f"listing the plugins failed ({describe_exit(end.returncode)}): {end.last_words}"
    text = end.output.decode("utf-8", "replace").strip()
    return f"listing the plugins gave no JSON: {clip(text, 200)!r}: does one print?"
