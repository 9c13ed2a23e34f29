"""Makes what a job minimises, the loss that its spec names or a weighted sum of several, one callable for the trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.loss_faults import describe_mixed
from prefd.daemon.worker.errors import JobError
from prefd.plugins.manager import Plugins, RegisteredLoss
from prefd.plugins.mixture import Mixture, WeightedLoss
from prefd.plugins.types import LossInput, LossOutput
from prefd.plugins.unpaired import NoUnpairedOutput


@dataclass(frozen=True)
class Objective:
    """Objective is a loss with its parameters bound."""

    loss: Callable[[LossInput], LossOutput]
    needs_reference: bool
    """Whether it, or any loss of a mixture, compares with the reference."""
    batch_independent: bool
    """Whether a pair's loss depends on that pair alone, so that a batch may be cut at will."""
    needs_distribution: bool = False
    """Whether it, or any loss of a mixture, looks at the policy's distribution at each token."""
    unpaired: bool = False
    """Whether it learns from single answers with a label, and not from pairs."""

    def __call__(self, x: LossInput) -> LossOutput:
        """Compute the losses of a batch of pairs."""
        return self.loss(x)

    @classmethod
    def from_spec(cls, spec: JobSpec, plugins: Plugins) -> Objective:
        """Bind the losses of `spec` to their parameters.

        Raises `JobError` for a loss that no plugin brings, `LossParameterError` for parameters it does not take.
        """
        parts, needs_reference, batch_independent, needs_distribution = [], False, True, False
        unpaired: dict[bool, str] = {}
        for place, weighted in spec.losses.items():
            registered = _find_loss(weighted.name, plugins)
            parts.append(
                WeightedLoss(
                    registered.name,
                    weighted.factor,
                    _check_output(registered, registered.create(weighted.params, place)),
                    registered.schema.preference,
                )
            )
            unpaired.setdefault(registered.schema.unpaired, registered.name)
            needs_reference |= registered.schema.needs_reference
            batch_independent &= registered.schema.batch_independent
            needs_distribution |= registered.schema.needs_distribution
        if len(unpaired) == 2:
            raise JobError(f"loss: {describe_mixed(unpaired[True], unpaired[False])}")
        loss = Mixture(parts) if isinstance(spec.loss, list) else parts[0].loss
        return cls(loss, needs_reference, batch_independent, needs_distribution, True in unpaired)


def _find_loss(name: str, plugins: Plugins) -> RegisteredLoss:
    if registered := plugins.losses.get(name):
        return registered
    failed = "".join(f"; plugin {plugin.name} failed: {plugin.error}" for plugin in plugins.plugins if plugin.error)
    raise JobError(f"loss {name!r} is not registered by any plugin{failed} (see `prefd plugins`)")


def _check_output(
    registered: RegisteredLoss, loss: Callable[[LossInput], LossOutput]
) -> Callable[[LossInput], LossOutput]:
    """Wrap a loss, so that one that returns something else than a LossOutput is told."""

    def checked(x: LossInput) -> LossOutput:
        try:
            output: object = loss(x)
        except NoUnpairedOutput as error:
            raise JobError(
                f"loss {registered.name!r} of plugin {registered.plugin}: {error}: `prefd check-loss {registered.name}`"
            ) from error
        if not isinstance(output, LossOutput):
            value = "nothing (is a `return` missing?)" if output is None else f"{type(output).__name__}"
            raise JobError(
                f"loss {registered.name!r} of plugin {registered.plugin} returned {value}; it must return a "
                f"LossOutput(losses, chosen_rewards, rejected_rewards): `prefd check-loss {registered.name}`"
            )
        return output

    return checked
