"""Every extension point of prefd, on one screen. `hookimpl` marks an implementation.

A plugin is a module (or object) found through the entry-point group `prefd`, or a file listed under
`plugins` in the daemon's `config.toml`. prefd's own losses, row formats and reporters come in by the same door.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from prefd.plugins.reporting import RunReporter
    from prefd.plugins.types import Loss, RowFormat

PROJECT = "prefd"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_losses(register: Callable[[str, Loss], None]) -> None:
    """Call `register(name, loss)` for each loss you bring.

    `loss` is a dataclass whose instances are called with a `LossInput`, or a function of one; its fields
    (keyword-only arguments) are the parameters of the spec's `loss:` block, `name` and `weight` excepted: those words are
    the spec's own. What a loss may declare of itself is said at `prefd.plugins.types.Loss`; `prefd check-loss NAME` tries
    whether it keeps the contract.
    """


@hookspec
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    """Call `register(name, row_format)` for each shape of dataset row you can read."""


@hookspec
def register_reporters(register: Callable[[str, RunReporter], None]) -> None:
    """Call `register(name, reporter)` for each tool that you can tell of a training: a spec's `report_to:` names it.

    What a reporter gets and may say of itself is at `prefd.plugins.reporting`; it is called in a process of its own, and fails
    no job. `prefd.plugins.conformance.reporters` tries whether it keeps the contract.
    """
