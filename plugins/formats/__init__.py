"""prefd's own row formats: a shape a file, registered through the hook that strangers use.

Where several formats fit a dataset equally well the last registered is taken. So these stand from the general to the
special, and a plugin's come after them.
"""

from __future__ import annotations

from collections.abc import Callable

from prefd.plugins.formats import (
    explicit,
    grouped,
    hh,
    implicit_messages,
    implicit_text,
    listed,
    openai,
    ranked,
    summaries,
    unpaired,
    winner,
)
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import RowFormat

MODULES = (implicit_text, unpaired, grouped, ranked, winner, explicit, listed, implicit_messages, hh, openai, summaries)


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    """Registers each format of `MODULES`, from the general to the special."""
    for module in MODULES:
        module.register_formats(register)
