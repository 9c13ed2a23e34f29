"""Reads a spec file's bytes as a JobSpec, or raises a SpecError that says what is wrong, where, and what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError

from prefd.daemon.errors import PrefdError
from prefd.daemon.machine.readability import explain_refusal, is_protected
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.foreign_paths import explain_foreign_paths
from prefd.daemon.specs.job_spec import JobSpec, LossSpec, WeightedLossSpec, losses_by_place
from prefd.daemon.specs.mlx_lm_lora.flat_config import is_flat, translate
from prefd.daemon.specs.paths import faults_of_sources
from prefd.daemon.specs.spec_source import SpecSource, SpecUnreadable
from prefd.daemon.specs.sweep import (
    KEY,
    Combination,
    SweepError,
    drop_duplicates,
    expand_sweep,
    find_lines,
    get_value,
    read_axes,
)
from prefd.daemon.text.parse import PARSERS, parse
from prefd.daemon.text.parsed import Parsed, ParseError
from prefd.daemon.text.pasted_text import explain_characters
from prefd.daemon.text.times import explain_moment
from prefd.daemon.text.unknown_losses import suggest_loss
from prefd.daemon.text.validation_faults import MAX_FAULTS, count_omitted, explain_faults
from prefd.daemon.text.wording import Path as Place
from prefd.daemon.text.wording import clip, compose, format_amount, format_path, format_value
from prefd.plugins.schema import problems

SUFFIXES = tuple(PARSERS)
Check = Callable[[dict[str, Any], Mapping[Place, int]], JobSpec]
"""A document and the lines of its settings → its spec; or SpecError."""


class SpecError(PrefdError):
    """The spec cannot be a job. Each line of the error is a message for the spec's author."""

    http_status = 422


MACHINE_TROUBLE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT}
"""What a look at a source may end of without saying anything about the spec."""


@dataclass(frozen=True)
class SpecFile:
    """SpecFile is what one file asks for: a job, or one for each combination of its sweep."""

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
        """The file's only spec. Raises SpecError where there are several."""
        if self.sweep is not None:
            problem = f"a sweep of {format_amount(len(self.specs), 'job')}, where one job is wanted"
            raise SpecError(f"{self.file}: {problem}: hand it in with `prefd submit`, or take `sweep` out")
        return self.specs[0]

    def document(self) -> dict[str, Any]:
        """Returns a spec that reads back as this one, wherever it lies: paths are as in the specs."""
        documents: list[dict[str, Any]] = [spec.model_dump(mode="json", exclude_unset=True) for spec in self.specs]
        if self.sweep is None:
            return documents[0]
        values = {name: drop_duplicates(get_value(each, name) for each in documents) for name in self.sweep}
        return documents[0] | {"name": self.name, KEY: values}


def read_spec(data: bytes, name: str, catalog: Catalog | None = None) -> JobSpec:
    """Reads the one job in `data`, as `read_specs` does. Raises SpecError where it holds a sweep."""
    return read_specs(data, name, catalog).spec


def read_specs(data: bytes, name: str, catalog: Catalog | None = None, folder: Path | None = None) -> SpecFile:
    """Reads the specs in `data`, by the suffix of `name`. Raises SpecError; and OSError where the machine fails, not the spec.

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
    if problem := explain_characters(parsed.value, parsed.lines):
        raise SpecError(problem)

    notes: dict[str, None] = {}

    def check(document: dict[str, Any], lines: Mapping[Place, int]) -> JobSpec:
        spec = _check_job(document, lines, catalog)
        if folder is not None:
            moment_notes = [] if spec.not_before is None else explain_moment(spec.not_before)
            notes.update(dict.fromkeys(f"not_before: {note}" for note in moment_notes))
            spec = _resolve_paths(spec, lines, folder)
        return spec if spec.name else spec.model_copy(update={"name": clip(compose(file.stem), 200)})

    if is_flat(parsed.value):
        specs = _read_flat(file.name, parsed, check, folder)
    elif KEY in parsed.value:
        specs = _read_sweep(file.name, parsed, check)
    else:
        specs = SpecFile(file.name, (check(parsed.value, parsed.lines),))
    return replace(specs, notes=(*specs.notes, *notes))


def _read_flat(name: str, parsed: Parsed, check: Check, folder: Path | None) -> SpecFile:
    """Reads a config of mlx-lm-lora, and reports its faults by the names in the file."""
    translation = translate(parsed.value, folder)
    lines = [parsed.lines.get((key.partition(".")[0],)) for key, _ in translation.faults]
    faults = [
        (f"line {line}: " if line else "") + f"{key}: {reason}"
        for line, (key, reason) in zip(lines, translation.faults)
    ]
    try:
        spec = check(translation.document, translation.lines(parsed.lines))
    except SpecError as error:
        faults += [translation.renamed(line) for line in error.lines]
    if faults:
        raise SpecError(*faults)
    return SpecFile(name, (spec,), notes=tuple(translation.notes))


def _read_sweep(name: str, parsed: Parsed, check: Check) -> SpecFile:
    """Reads all combinations, each checked as if it stood alone; a fault of several is reported once."""
    lines = dict(parsed.lines) | find_lines(parsed.lines)
    try:
        axes = read_axes(parsed.value[KEY])
        combinations = list(expand_sweep(parsed.value, axes))
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
        messages = [_qualify_fault(line, affected, len(combinations)) for line, affected in faults.items()]
        raise SpecError(*messages[:MAX_FAULTS], *count_omitted(MAX_FAULTS, len(messages)))
    bodies = [spec.model_dump_json() for spec in specs]
    for index, body in enumerate(bodies):
        if (first := bodies.index(body)) < index:
            duplicates = " and ".join(f"({combinations[each].describe()})" for each in (first, index))
            raise SpecError(f"{KEY}: {clip(duplicates, 200)} are the same job; give each value once")
    base_name = specs[0].name
    named_specs = [
        spec.model_copy(update={"name": f"{base_name[:190]}-{number}", "group": spec.group or base_name})
        for number, spec in enumerate(specs, 1)
    ]
    return SpecFile(
        name, tuple(named_specs), tuple(each.describe() for each in combinations), sweep=axes, name=base_name
    )


def _qualify_fault(line: str, combinations: list[Combination], count: int) -> str:
    if len(combinations) == count:
        return line
    return f"{line} (with {clip(combinations[0].describe(), 100)}" + (
        f", and {len(combinations) - 1} more)" if combinations[1:] else ")"
    )


def _check_job(document: dict[str, Any], lines: Mapping[Place, int], catalog: Catalog | None) -> JobSpec:
    """Validates one job's spec. Raises SpecError with lines that do not name the file."""
    try:
        spec = JobSpec.model_validate(document)
    except ValidationError as error:
        messages = explain_faults(error, JobSpec, document, lines)
        messages += faults_of_losses(readable_losses(document.get("loss")), catalog)
        raise SpecError(*messages) from None
    if faults := faults_of_losses(spec.losses, catalog) or _faults_of_batches(spec, catalog):
        raise SpecError(*faults)
    if not spec.name.isprintable():
        raise SpecError(f"name: must be printable and on one line, got {format_value(spec.name)}")
    return spec


def _resolve_paths(spec: JobSpec, lines: Mapping[Place, int], folder: Path) -> JobSpec:
    """Makes the paths of `spec` absolute and checks each. Raises SpecError; OSError where the machine fails."""
    try:
        foreign = explain_foreign_paths(spec, folder)
        spec = spec.resolved(folder)
    except (OSError, ValueError) as error:  # a path with a NUL, or one that is too long
        raise SpecError(f"a path in it cannot be used: {clip(str(error), 200)}") from None
    line_by_field = {format_path(place): f"line {line}: " for place, line in lines.items()}
    faults = [f"{line_by_field.get(field, '')}{field}: {reason}" for field, reason in foreign.items()]
    try:
        faults += [
            fault for fault in faults_of_sources(spec) if not fault.startswith(tuple(f"{field}: " for field in foreign))
        ]
    except OSError as error:
        if error.errno in MACHINE_TROUBLE:
            raise
        place = Path(os.fsdecode(error.filename or folder))
        reason = f"cannot be looked at: {error.strerror or error}"
        if isinstance(error, PermissionError) and is_protected(place):
            reason = explain_refusal(place, error)
        faults += [f"{clip(str(place), 200)} {reason}"]
    if faults:
        raise SpecError(*faults)
    return spec


def load_specs(path: Path, catalog: Catalog) -> SpecFile:
    """Loads the validated specs in the file at `path` (`-`: standard input), read within bounds.

    Relative paths start at its own folder; those of a pipe where the command is run.

    Raises SpecError, also for a file that is not there.
    """
    try:
        source = SpecSource.read(path)
    except SpecUnreadable as error:
        raise SpecError(*error.lines) from None
    return read_specs(source.data, source.name, catalog, source.folder)


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


def faults_of_losses(losses: Mapping[str, LossSpec], catalog: Catalog | None) -> list[str]:
    """Lists a line for each thing wrong with a spec's losses, by place; none without a catalogue."""
    if catalog is None:
        return []
    faults = [line for place, loss in losses.items() for line in _faults_of_loss(place, loss, catalog)]
    return faults[:MAX_FAULTS] + count_omitted(MAX_FAULTS, len(faults))


def _faults_of_batches(spec: JobSpec, catalog: Catalog | None) -> list[str]:
    """Refuses `batch_tokens` for a loss that looks across its batch, which must not be cut."""
    if catalog is None or spec.training is None or spec.training.batch_tokens is None:
        return []
    indivisible = [loss.name for loss in spec.losses.values() if not catalog.losses[loss.name].batch_independent]
    reason = "looks across its batch, which is training.batch_size pairs and is never cut; leave it out"
    return [f"training.batch_tokens: {name} {reason}" for name in indivisible[:1]]


def _faults_of_loss(place: str, loss: LossSpec, catalog: Catalog) -> list[str]:
    info = catalog.losses.get(loss.name)
    if info is not None:
        faults = problems(info.params, loss.params)
        return [f"{place}.{clip(name)}: {clip(message, 300)} ({info.name})" for name, message in faults]
    suggestion = suggest_loss(clip(loss.name), catalog.losses)
    hint = f"{suggestion}{' ' if suggestion.endswith('?') else '; '}" if suggestion else ""
    failures = [f"plugin {plugin.name} failed: {plugin.error}" for plugin in catalog.plugins if plugin.error]
    hint += f"known: {', '.join(sorted(catalog.losses))}" + "".join(f" ({clip(each, 200)})" for each in failures)
    return [f"{place}.name: no loss is called {clip(loss.name)!r}; {hint}"]
