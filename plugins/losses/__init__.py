"""Registers prefd's own losses, a family a file, through the hook that plugins use.

A new family is a file in this folder with a table `LOSSES`; the files without one are what the losses share. The tables
in the documentation are made of each loss: its docstring's first line, and its `purpose`, which says when to use it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Loss


@hookimpl
def register_losses(register: Callable[[str, Loss], None]) -> None:
    """Registers the losses of every family."""
    for each in pkgutil.iter_modules(__path__):
        family = importlib.import_module(f"{__name__}.{each.name}")
        for name, loss in getattr(family, "LOSSES", {}).items():
            register(name, loss)
