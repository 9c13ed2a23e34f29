"""What a job minimises: the loss its spec names, or the weighted sum of several, as one callable for the trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.errors import JobError
from prefd.plugins.manager import Plugins, RegisteredLoss
from prefd.plugins.mixture import Mixture, WeightedLoss
from prefd.plugins.types import LossInput, LossOutput


@dataclass(frozen=True)
class Objective:
    """A loss with its parameters bound."""

    loss: Callable[[LossInput], LossOutput]
    needs_reference: bool
    """Whether it, or any loss of a mixture, compares with the reference."""
    batch_independent: bool
    """Whether a pair's loss depends on that pair alone, so that a batch may be cut at will."""

    def __call__(self, x: LossInput) -> LossOutput:
        return self.loss(x)

    @classmethod
    def of(cls, spec: JobSpec, plugins: Plugins) -> Objective:
        """Raises `JobError` for a loss that no plugin brings, `LossParameterError` for parameters it does not take."""
        parts, needs_reference, batch_independent = [], False, True
        for place, each in spec.losses.items():
            found = _registered(each.name, plugins)
            parts.append(
                WeightedLoss(found.name, each.factor, found.create(each.params, place), found.schema.preference)
            )
            needs_reference |= found.schema.needs_reference
            batch_independent &= found.schema.batch_independent
        loss = Mixture(parts) if isinstance(spec.loss, list) else parts[0].loss
        return cls(loss, needs_reference, batch_independent)


def _registered(name: str, plugins: Plugins) -> RegisteredLoss:
    if found := plugins.losses.get(name):
        return found
    failed = "".join(f"; plugin {each.name} failed: {each.error}" for each in plugins.plugins if each.error)
    raise JobError(f"loss {name!r} is not registered by any plugin{failed} (see `prefd plugins`)")
