"""Preference losses by the names TRL 1.16 gives them, a family a module: each is found by its table `LOSSES`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Loss


@hookimpl
def register_losses(register: Callable[[str, Loss], None]) -> None:
    for each in pkgutil.iter_modules(__path__):
        family = importlib.import_module(f"{__name__}.{each.name}")
        for name, loss in family.LOSSES.items():
            register(name, loss)
