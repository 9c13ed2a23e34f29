"""From a spec file's bytes to a JobSpec, or to a SpecError that says what is wrong, where, and what to do."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError

from prefd.daemon.errors import PrefdError
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.job_spec import JobSpec, LossSpec, WeightedLossSpec, losses_by_place
from prefd.daemon.specs.mlx_lm_lora.translation import is_flat, translate
from prefd.daemon.specs.paths import faults_of_sources
from prefd.daemon.specs.sweep import KEY, Combination, SweepError, axes_of, expand, swept_lines, unique, value_at
from prefd.daemon.text.parse import PARSERS, parse
from prefd.daemon.text.parsed import MAX_BYTES, Parsed, ParseError
from prefd.daemon.text.unknown_losses import advice
from prefd.daemon.text.validation_faults import MAX_FAULTS, explain, more_than
from prefd.daemon.text.wording import Path as Place
from prefd.daemon.text.wording import amount, clip, shown
from prefd.plugins.schema import problems

SUFFIXES = tuple(PARSERS)
Check = Callable[[dict[str, Any], Mapping[Place, int]], JobSpec]
"""A document and the lines of its settings → its spec; or SpecError."""


class SpecError(PrefdError):
    """A spec that cannot be a job. Each of its lines is a message for the spec's author."""

    http_status = 422


MACHINE_TROUBLE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT}
"""What a look at a source may end of without saying anything about the spec."""


@dataclass(frozen=True)
class SpecFile:
    """What one file asks for: a job, or one for each combination of its sweep."""

    file: str
    specs: tuple[JobSpec, ...]
    settings: tuple[str, ...] = ("",)
    """Of each spec, what the sweep sets in it, in words."""
    notes: tuple[str, ...] = ()
    """What the file's writer should know and need not change."""
    sweep: Mapping[str, list[Any]] | None = None
    name: str = ""
    """The sweep's own name."""

    @property
    def spec(self) -> JobSpec:
        """The only one. Raises SpecError where there are several."""
        if self.sweep is not None:
            many = f"a sweep of {amount(len(self.specs), 'job')}, where one job is wanted"
            raise SpecError(f"{self.file}: {many}: hand it in with `prefd submit`, or take `sweep` out")
        return self.specs[0]

    def document(self) -> dict[str, Any]:
        """A spec that reads back as this one, wherever it lies: paths are as in the specs."""
        dumped: list[dict[str, Any]] = [spec.model_dump(mode="json", exclude_unset=True) for spec in self.specs]
        if self.sweep is None:
            return dumped[0]
        values = {name: unique(value_at(each, name) for each in dumped) for name in self.sweep}
        return dumped[0] | {"name": self.name, KEY: values}


def read_spec(data: bytes, name: str, catalog: Catalog | None = None) -> JobSpec:
    """The one job in `data`; see `read_specs`."""
    return read_specs(data, name, catalog).spec


def read_specs(data: bytes, name: str, catalog: Catalog | None = None, folder: Path | None = None) -> SpecFile:
    """What is in `data`, by the suffix of `name`. Raises SpecError; and OSError where the machine fails, not the spec.

    With `catalog`, the loss is checked too; with `folder`, paths are made absolute from there, and looked at. Every
    fault that can be found is told at once, and where one combination of a sweep has one, none of it is a job.
    """
    file = PurePath(name)
    try:
        return _read(data, file, catalog, folder)
    except SpecError as error:
        raise SpecError(*(f"{clip(file.name)}: {line}" for line in error.lines)) from None


def _read(data: bytes, file: PurePath, catalog: Catalog | None, folder: Path | None) -> SpecFile:
    if file.suffix.lower() not in SUFFIXES:
        raise SpecError(f"a spec's name ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    try:
        parsed = parse(data, file.suffix.lower())
    except ParseError as error:
        raise SpecError(str(error)) from None

    def check(document: dict[str, Any], lines: Mapping[Place, int]) -> JobSpec:
        spec = _check(document, lines, catalog, folder)
        return spec if spec.name else spec.model_copy(update={"name": clip(file.stem, 200)})

    if is_flat(parsed.value):
        return _read_flat(file.name, parsed, check, folder)
    if KEY in parsed.value:
        return _read_sweep(file.name, parsed, check)
    return SpecFile(file.name, (check(parsed.value, parsed.lines),))


def _read_flat(name: str, parsed: Parsed, check: Check, folder: Path | None) -> SpecFile:
    """A config of mlx-lm-lora; what is wrong with it is told by the names in the file."""
    made = translate(parsed.value, folder)
    at = [parsed.lines.get((key.partition(".")[0],)) for key, _ in made.faults]
    faults = [(f"line {line}: " if line else "") + f"{key}: {what}" for line, (key, what) in zip(at, made.faults)]
    try:
        spec = check(made.document, made.lines(parsed.lines))
    except SpecError as error:
        faults += [made.renamed(line) for line in error.lines]
    if faults:
        raise SpecError(*faults)
    return SpecFile(name, (spec,), notes=tuple(made.notes))


def _read_sweep(name: str, parsed: Parsed, check: Check) -> SpecFile:
    """All combinations, each checked as if it stood alone; a fault of several is told once."""
    lines = dict(parsed.lines) | swept_lines(parsed.lines)
    try:
        axes = axes_of(parsed.value[KEY])
        combinations = list(expand(parsed.value, axes))
    except SweepError as error:
        raise SpecError(str(error)) from None
    specs: list[JobSpec] = []
    faults: dict[str, list[Combination]] = {}
    for combination in combinations:
        try:
            specs.append(check(combination.document, lines))
        except SpecError as error:
            for line in error.lines:
                faults.setdefault(line, []).append(combination)
    if faults:
        told = [_of_combinations(line, where, len(combinations)) for line, where in faults.items()]
        raise SpecError(*told[:MAX_FAULTS], *more_than(MAX_FAULTS, len(told)))
    bodies = [spec.model_dump_json() for spec in specs]
    for at, body in enumerate(bodies):
        if (first := bodies.index(body)) < at:
            same = " and ".join(f"({combinations[each].describe()})" for each in (first, at))
            raise SpecError(f"{KEY}: {clip(same, 200)} are the same job; give each value once")
    own = specs[0].name
    named = [
        spec.model_copy(update={"name": f"{own[:190]}-{number}", "group": spec.group or own})
        for number, spec in enumerate(specs, 1)
    ]
    return SpecFile(name, tuple(named), tuple(each.describe() for each in combinations), sweep=axes, name=own)


def _of_combinations(line: str, where: list[Combination], count: int) -> str:
    if len(where) == count:
        return line
    return f"{line} (with {clip(where[0].describe(), 100)}" + (f", and {len(where) - 1} more)" if where[1:] else ")")


def _check(
    document: dict[str, Any], lines: Mapping[Place, int], catalog: Catalog | None, folder: Path | None
) -> JobSpec:
    """One job's spec. Raises SpecError with lines that do not name the file."""
    try:
        spec = JobSpec.model_validate(document)
    except ValidationError as error:
        told = explain(error, JobSpec, document, lines)
        told += faults_of_losses(readable_losses(document.get("loss")), catalog)
        raise SpecError(*told) from None
    if faults := faults_of_losses(spec.losses, catalog) or _faults_of_batches(spec, catalog):
        raise SpecError(*faults)
    if not spec.name.isprintable():
        raise SpecError(f"name: must be printable and on one line, got {shown(spec.name)}")
    return spec if folder is None else _placed(spec, folder)


def _placed(spec: JobSpec, folder: Path) -> JobSpec:
    """`spec` with absolute paths, all of which lead to something. Raises SpecError; OSError where the machine fails."""
    try:
        spec = spec.resolved(folder)
    except (OSError, RuntimeError, ValueError) as error:  # a path with a NUL, or `~nobody`
        raise SpecError(f"a path in it cannot be used: {clip(str(error), 200)}") from None
    try:
        faults = faults_of_sources(spec)
    except OSError as error:
        if error.errno in MACHINE_TROUBLE:
            raise
        faults = [f"{clip(str(error.filename), 200)} cannot be looked at: {error.strerror or error}"]
    if faults:
        raise SpecError(*faults)
    return spec


def load_specs(path: Path, catalog: Catalog) -> SpecFile:
    """The validated specs in the file at `path`, read within bounds; its own folder is where relative paths start.

    Raises SpecError, also for a file that is not there.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SpecError(f"{path}: not a regular file")
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}") from None
    return read_specs(data, path.name, catalog, path.absolute().parent)


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
    faults = [line for place, loss in losses.items() for line in _faults_of_loss(place, loss, catalog)]
    return faults[:MAX_FAULTS] + more_than(MAX_FAULTS, len(faults))


def _faults_of_batches(spec: JobSpec, catalog: Catalog | None) -> list[str]:
    """A loss that looks across its batch is given the batch whole."""
    if catalog is None or spec.training is None or spec.training.batch_tokens is None:
        return []
    whole = [loss.name for loss in spec.losses.values() if not catalog.losses[loss.name].batch_independent]
    said = "looks across its batch, which is training.batch_size pairs and is never cut; leave it out"
    return [f"training.batch_tokens: {name} {said}" for name in whole[:1]]


def _faults_of_loss(place: str, loss: LossSpec, catalog: Catalog) -> list[str]:
    found = catalog.losses.get(loss.name)
    if found is not None:
        faults = problems(found.params, loss.params)
        return [f"{place}.{clip(name)}: {clip(message, 300)} ({found.name})" for name, message in faults]
    said = advice(clip(loss.name), catalog.losses)
    known = f"{said}{' ' if said.endswith('?') else '; '}" if said else ""
    failed = [f"plugin {plugin.name} failed: {plugin.error}" for plugin in catalog.plugins if plugin.error]
    known += f"known: {', '.join(sorted(catalog.losses))}" + "".join(f" ({clip(each, 200)})" for each in failed)
    return [f"{place}.name: no loss is called {clip(loss.name)!r}; {known}"]
