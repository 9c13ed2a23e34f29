"""prefd's own reporters, a tool a file, registered through the hook that plugins use.

A new one is a file in this folder with a table `REPORTERS`. It imports its tool when a run is opened, and not before: the
reporters are listed where no tool is installed.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.reporting import RunReporter


@hookimpl
def register_reporters(register: Callable[[str, RunReporter], None]) -> None:
    """Registers the reporters of every file."""
    for each in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{each.name}")
        for name, reporter in getattr(module, "REPORTERS", {}).items():
            register(name, reporter)
