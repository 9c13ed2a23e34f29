"""Preference losses by the names TRL 1.16 gives them, a family a module."""

from __future__ import annotations

from collections.abc import Callable

from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Loss
from prefd_trl_losses import (
    anchored,
    classifiers,
    discovered,
    divergences,
    lengths,
    noisy,
    odds,
    selfplay,
    shaped,
    transport,
)


@hookimpl
def register_losses(register: Callable[[str, Loss], None]) -> None:
    for family in (noisy, classifiers, selfplay, transport, anchored, discovered, lengths, divergences, odds, shaped):
        for name, loss in family.LOSSES.items():
            register(name, loss)
