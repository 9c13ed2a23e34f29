"""Checks a spec's losses and their parameters against those that the plugins bring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.job_spec import JobSpec, LossSpec, WeightedLossSpec, losses_by_place
from prefd.daemon.specs.spec_error import SpecError
from prefd.daemon.text.text_fault import TextFault
from prefd.daemon.text.unknown_losses import suggest_loss
from prefd.daemon.text.validation_faults import limit_faults
from prefd.daemon.text.wording import clip
from prefd.plugins.schema import problems


def check_loss(spec: JobSpec, catalog: Catalog) -> None:
    """Checks the spec's losses. Raises SpecError for a loss that no plugin brings, or parameters that it does not take."""
    if faults := faults_of_losses(spec.losses, catalog):
        raise SpecError(*faults)


def readable_losses(value: Any) -> dict[str, LossSpec]:
    """Reads the losses in a spec's raw `loss:` that can be read; the faults of the rest are told with the spec's."""
    kind = WeightedLossSpec if isinstance(value, list) else LossSpec
    readable = {}
    for place, each in losses_by_place(value).items():
        with suppress(ValidationError):
            readable[place] = kind.model_validate(each)
    return readable


def faults_of_losses(losses: Mapping[str, LossSpec], catalog: Catalog | None) -> list[TextFault]:
    """Lists each thing wrong with a spec's losses, by place; none without a catalogue."""
    if catalog is None:
        return []
    faults = [fault for place, loss in losses.items() for fault in _faults_of_loss(place, loss, catalog)]
    return limit_faults([*faults, *_faults_of_mixture(losses, catalog)])


def faults_of_batches(spec: JobSpec, catalog: Catalog | None) -> list[TextFault]:
    """Refuses `batch_tokens`, and several ranks, for a loss that looks across its batch, which must not be cut."""
    if catalog is None or spec.training is None:
        return []
    is_set = {
        "training.batch_tokens": spec.training.batch_tokens is not None,
        "ranks": isinstance(spec.ranks, int) and spec.ranks > 1,
    }
    indivisible = [loss.name for loss in spec.losses.values() if not catalog.losses[loss.name].batch_independent]
    reason = "looks across its batch, which is training.batch_size pairs and is never cut; leave it out"
    return [
        TextFault(f"{name} {reason}", place)
        for name in indivisible[:1]
        for place, is_asked in is_set.items()
        if is_asked
    ]


def describe_mixed(unpaired: str, paired: str) -> str:
    """Says why two losses make no mixture."""
    return (
        f"{unpaired} learns from single answers with a label and {paired} from pairs, and a job has data of one kind; give each a "
        "job of its own"
    )


def _faults_of_mixture(losses: Mapping[str, LossSpec], catalog: Catalog) -> Iterator[TextFault]:
    """Refuses a mixture of losses of pairs and losses of single answers."""
    loss_facts = {place: catalog.losses[loss.name] for place, loss in losses.items() if loss.name in catalog.losses}
    unpaired = [(place, info.name) for place, info in loss_facts.items() if info.unpaired]
    paired = [info.name for info in loss_facts.values() if not info.unpaired]
    if unpaired and paired:
        yield TextFault(describe_mixed(unpaired[0][1], paired[0]), f"{unpaired[0][0]}.name")


def faults_of_live_reference(spec: JobSpec, catalog: Catalog | None) -> list[TextFault]:
    """Refuses a live reference where no loss compares with one."""
    if catalog is None or not spec.has_live_reference or catalog.need_reference(spec.loss_names):
        return []
    reason = f"{' + '.join(sorted(spec.loss_names))} takes no reference, so there is none to score live; leave it out"
    return [TextFault(reason, "reference.live")]


def _faults_of_loss(place: str, loss: LossSpec, catalog: Catalog) -> list[TextFault]:
    info = catalog.losses.get(loss.name)
    if info is not None:
        faults = problems(info.params, loss.params)
        return [TextFault(f"{clip(message, 300)} ({info.name})", f"{place}.{clip(name)}") for name, message in faults]
    suggestion = suggest_loss(clip(loss.name), catalog.losses)
    hint = f"{suggestion}{' ' if suggestion.endswith('?') else '; '}" if suggestion else ""
    failures = [f"plugin {plugin.name} failed: {plugin.error}" for plugin in catalog.plugins if plugin.error]
    hint += f"known: {', '.join(sorted(catalog.losses))}" + "".join(f" ({clip(each, 200)})" for each in failures)
    return [TextFault(f"no loss is called {clip(loss.name)!r}; {hint}", f"{place}.name")]
