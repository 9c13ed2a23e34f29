"""Registers prefd's own losses, a family a file, through the hook that plugins use."""

from __future__ import annotations

from collections.abc import Callable

from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.losses import cpo, dpo, sft, simpo
from prefd.plugins.types import Loss


@hookimpl
def register_losses(register: Callable[[str, Loss], None]) -> None:
    """Registers the losses of every family."""
    for family in (dpo, cpo, simpo, sft):
        for name, loss in family.LOSSES.items():
            register(name, loss)
