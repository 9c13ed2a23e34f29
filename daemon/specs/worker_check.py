"""`find_worker_fault` tries whether a worker can be started here: whether all that it imports is there and whole."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.machine.processes import describe_exit
from prefd.daemon.specs.catalog import CatalogError
from prefd.daemon.specs.listing_child import run_child


def find_worker_fault(command: Sequence[str], cancelled: threading.Event, device: str = "auto") -> str | None:
    """Return why a worker cannot be started, in words; None where it can.

    `command`: that of a worker which imports everything. `cancelled`: once it is set, the try is broken off. `device`: what
    it is to compute on.
    """
    try:
        end = run_child(command, HandedSettings(device=device), cancelled)
    except CatalogError as error:
        return str(error)
    if isinstance(end.answer, dict):
        return str(end.answer["error"]) if "error" in end.answer else None
    if end.overdue is not None:
        return f"it says nothing for {end.overdue:g} s"
    return end.last_words if end.stderr.strip() else f"it ended with {describe_exit(end.returncode or 0)}"
