"""prefd's own row formats: a shape a file, registered through the hook that strangers use.

Where several formats fit a dataset equally well the last registered is taken. So they are registered in the order of their
`PRECEDENCE`, from the general to the special, and a plugin's come after them. A new format is a file in this folder with a
`PRECEDENCE`, `ROW_SHAPES` (its rows in docs/data.md) and a `register_formats`; the files without one are what the formats share.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType

from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import RowFormat


def list_modules() -> list[ModuleType]:
    """Lists the modules of this folder that have a format, from the general to the special."""
    modules = [importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__)]
    return sorted(
        (module for module in modules if hasattr(module, "register_formats")),
        key=lambda module: (module.PRECEDENCE, module.__name__),
    )


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    """Registers each format, from the general to the special."""
    for module in list_modules():
        module.register_formats(register)
