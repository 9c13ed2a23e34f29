"""Lets the trainer call an unpaired loss as it calls every other: a batch of pairs whose chosen sides are the answers."""

from __future__ import annotations

from collections.abc import Callable

from prefd.plugins.errors import PluginError
from prefd.plugins.types import LossInput, LossOutput, UnpairedInput, UnpairedOutput


class NoUnpairedOutput(PluginError, TypeError):
    """An unpaired loss returned something else than an `UnpairedOutput`. The message says what."""


def adapt(loss: Callable[[UnpairedInput], UnpairedOutput]) -> Callable[[LossInput], LossOutput]:
    """Makes a function of `LossInput` of an unpaired loss.

    The rewards of its output are the answers' on the chosen side, whichever label they have, and 0 on the other.
    """

    def adapted(x: LossInput) -> LossOutput:
        output: object = loss(read_input(x))
        if not isinstance(output, UnpairedOutput):
            value = "nothing (is a `return` missing?)" if output is None else type(output).__name__
            raise NoUnpairedOutput(
                f"it returned {value}; an unpaired loss must return an UnpairedOutput(losses, rewards)"
            )
        rewards = output.rewards
        return LossOutput(output.losses, rewards, 0 * rewards, output.metrics)

    return adapted


def read_input(x: LossInput) -> UnpairedInput:
    """Reads a batch of answers off the sides that it stands in. Raises ValueError for a batch of pairs."""
    if x.desirable is None:
        raise ValueError("this loss learns from single answers with a label, and the batch has pairs")
    return UnpairedInput(
        x.policy_chosen, x.policy_rejected, x.desirable, x.reference_chosen, x.reference_rejected, x.noise
    )
