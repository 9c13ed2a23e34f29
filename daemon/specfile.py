"""From a spec file's bytes to a JobSpec, or to a SpecError that says what is wrong, where, and what to do."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError

from prefd.daemon.catalog import Catalog
from prefd.daemon.explain import explain
from prefd.daemon.parse import MAX_BYTES, PARSERS, ParseError, parse
from prefd.daemon.sources import faults_of_sources
from prefd.daemon.spec import JobSpec, LossSpec, WeightedLossSpec, losses_by_place
from prefd.daemon.text import clip, nearest, shown
from prefd.plugins.schema import problems

SUFFIXES = tuple(PARSERS)


class SpecError(Exception):
    """A spec that cannot be a job. Read by whoever wrote the spec: `lines` holds one complete message each."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines: tuple[str, ...] = lines


def read_spec(data: bytes, name: str, catalog: Catalog | None = None) -> JobSpec:
    """The spec in `data`, by the suffix of `name`; paths as written. Raises SpecError, and nothing else.

    With `catalog`, the loss is checked too, also where other fields have faults: all of them are told at once.
    """
    file = PurePath(name)
    shown_name = clip(file.name)
    if file.suffix.lower() not in SUFFIXES:
        raise SpecError(f"{shown_name}: a spec's name ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    try:
        parsed = parse(data, file.suffix.lower())
    except ParseError as error:
        raise SpecError(f"{shown_name}: {error}") from None
    try:
        spec = JobSpec.model_validate(parsed.value)
    except ValidationError as error:
        lines = explain(error, JobSpec, parsed.value, parsed.lines)
        lines += faults_of_losses(readable_losses(parsed.value.get("loss")), catalog)
        raise SpecError(*(f"{shown_name}: {line}" for line in lines)) from None
    if faults := faults_of_losses(spec.losses, catalog):
        raise SpecError(*(f"{shown_name}: {line}" for line in faults))
    if not spec.name.isprintable():
        raise SpecError(f"{shown_name}: name: must be printable and on one line, got {shown(spec.name)}")
    return spec if spec.name else spec.model_copy(update={"name": clip(file.stem, 200)})


def load_spec(path: Path, catalog: Catalog) -> JobSpec:
    """The validated spec in the file at `path`, read within bounds; its own folder is where relative paths start.

    Raises SpecError, also for a file that is not there.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SpecError(f"{path}: not a regular file")
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}") from None
    return validate(data, path.name, path.absolute().parent, catalog)


def check_loss(spec: JobSpec, catalog: Catalog) -> None:
    """Raises SpecError for a loss that no plugin brings, or parameters that it does not take."""
    if faults := faults_of_losses(spec.losses, catalog):
        raise SpecError(*faults)


def readable_losses(value: Any) -> dict[str, LossSpec]:
    """The losses in a spec's raw `loss:` that can be read; what is wrong with the others is told with the spec's."""
    kind = WeightedLossSpec if isinstance(value, list) else LossSpec
    readable = {}
    for place, each in losses_by_place(value).items():
        with suppress(ValidationError):
            readable[place] = kind.model_validate(each)
    return readable


def faults_of_losses(losses: Mapping[str, LossSpec], catalog: Catalog | None) -> list[str]:
    """A line for each thing wrong with a spec's losses, by place; none without a catalogue."""
    if catalog is None:
        return []
    return [line for place, loss in losses.items() for line in _faults_of_loss(place, loss, catalog)]


def _faults_of_loss(place: str, loss: LossSpec, catalog: Catalog) -> list[str]:
    found = catalog.losses.get(loss.name)
    if found is not None:
        faults = problems(found.params, loss.params)
        return [f"{place}.{clip(name)}: {clip(message, 300)} ({found.name})" for name, message in faults]
    near = nearest(loss.name, catalog.losses)
    known = f"did you mean {near}? " if near else ""
    failed = [f"plugin {plugin.name} failed: {plugin.error}" for plugin in catalog.plugins if plugin.error]
    known += f"known: {', '.join(sorted(catalog.losses))}" + "".join(f" ({clip(each, 200)})" for each in failed)
    return [f"{place}.name: no loss is called {clip(loss.name)!r}; {known}"]


def validate(data: bytes, name: str, folder: Path, catalog: Catalog) -> JobSpec:
    """Everything that can be checked without loading anything: the spec with absolute paths (relative to `folder`).

    Raises SpecError.
    """
    spec = read_spec(data, name, catalog)
    try:
        spec = spec.resolved(folder)
    except (OSError, RuntimeError, ValueError) as error:  # a path with a NUL, or `~nobody`
        raise SpecError(f"{clip(name)}: a path in it cannot be used: {clip(str(error), 200)}") from None
    if faults := faults_of_sources(spec):
        raise SpecError(*(f"{clip(name)}: {fault}" for fault in faults))
    return spec
