"""Reads a spec file's bytes as a JobSpec, or raises a SpecError that says what is wrong, where, and what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError

from prefd.daemon.machine.readability import explain_refusal, is_protected
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.foreign_paths import explain_foreign_paths
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.loss_faults import (
    faults_of_batches,
    faults_of_live_reference,
    faults_of_losses,
    readable_losses,
)
from prefd.daemon.specs.mlx_lm_lora.flat_config import is_flat, translate
from prefd.daemon.specs.paths import faults_of_sources, find_setting
from prefd.daemon.specs.reporter_faults import faults_of_reporters
from prefd.daemon.specs.spec_error import SpecError
from prefd.daemon.specs.spec_source import SpecSource, SpecUnreadable
from prefd.daemon.specs.sweep import (
    KEY,
    Combination,
    SweepError,
    drop_duplicates,
    expand_sweep,
    find_swept_positions,
    get_value,
    read_axes,
)
from prefd.daemon.text.parse import PARSERS, parse
from prefd.daemon.text.parsed import Parsed, ParseError
from prefd.daemon.text.pasted_text import explain_characters
from prefd.daemon.text.text_fault import Positions, TextFault, locate_faults
from prefd.daemon.text.times import explain_moment
from prefd.daemon.text.validation_faults import explain_faults, limit_faults
from prefd.daemon.text.wording import clip, compose, format_amount, format_value

SUFFIXES = tuple(PARSERS)
Check = Callable[[dict[str, Any], Positions], JobSpec]
"""A document and the positions of its settings → its spec; or SpecError."""

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
    positions: Positions = field(default_factory=dict)
    """Where each setting is in the file, by its path in the spec."""

    @property
    def spec(self) -> JobSpec:
        """Returns the file's only spec. Raises SpecError where there are several."""
        if self.sweep is not None:
            problem = f"a sweep of {format_amount(len(self.specs), 'job')}, where one job is wanted"
            raise SpecError(f"{problem}: hand it in with `prefd submit`, or take `sweep` out", file=self.file)
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
        raise SpecError(*error.faults, file=clip(file.name)) from None


def _read(data: bytes, file: PurePath, catalog: Catalog | None, folder: Path | None) -> SpecFile:
    if file.suffix.lower() not in SUFFIXES:
        raise SpecError(f"a spec's name ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    try:
        parsed = parse(data, file.suffix.lower())
    except ParseError as error:
        raise SpecError(error.fault) from None
    if fault := explain_characters(parsed.value):
        raise SpecError(*locate_faults([fault], parsed.positions))

    notes: dict[str, None] = {}

    def check(document: dict[str, Any], positions: Positions) -> JobSpec:
        spec = _check_job(document, positions, catalog)
        if folder is not None:
            moment_notes = [] if spec.not_before is None else explain_moment(spec.not_before)
            notes.update(dict.fromkeys(f"not_before: {note}" for note in moment_notes))
            spec = _resolve_paths(spec, positions, folder)
        return spec if spec.name else spec.model_copy(update={"name": clip(compose(file.stem), 200)})

    if is_flat(parsed.value):
        specs = _read_flat(file.name, parsed, check, folder)
    elif KEY in parsed.value:
        specs = _read_sweep(file.name, parsed, check)
    else:
        specs = SpecFile(file.name, (check(parsed.value, parsed.positions),), positions=parsed.positions)
    return replace(specs, notes=(*specs.notes, *notes))


def _read_flat(name: str, parsed: Parsed, check: Check, folder: Path | None) -> SpecFile:
    """Reads a config of mlx-lm-lora, and reports its faults by the names in the file."""
    translation = translate(parsed.value, folder)
    positions = translation.move_positions(parsed.positions)
    faults = locate_faults([TextFault(reason, name) for name, reason in translation.faults], parsed.positions)
    try:
        spec = check(translation.document, positions)
    except SpecError as error:
        faults += [translation.rename(fault) for fault in error.faults]
    if faults:
        raise SpecError(*faults)
    return SpecFile(name, (spec,), notes=tuple(translation.notes), positions=positions)


def _read_sweep(name: str, parsed: Parsed, check: Check) -> SpecFile:
    """Reads all combinations, each checked as if it stood alone; a fault of several is reported once."""
    positions = {**parsed.positions, **find_swept_positions(parsed.positions)}
    try:
        axes = read_axes(parsed.value[KEY])
        combinations = list(expand_sweep(parsed.value, axes))
    except SweepError as error:
        raise SpecError(*locate_faults([error.fault], parsed.positions)) from None
    specs: list[JobSpec] = []
    faults: dict[TextFault, list[Combination]] = {}
    for combination in combinations:
        try:
            specs.append(check(combination.document, positions))
        except SpecError as error:
            for fault in error.faults:
                faults.setdefault(fault, []).append(combination)
    if faults:
        raise SpecError(
            *limit_faults([_qualify_fault(fault, affected, len(combinations)) for fault, affected in faults.items()])
        )
    bodies = [spec.model_dump_json() for spec in specs]
    for index, body in enumerate(bodies):
        if (first := bodies.index(body)) < index:
            duplicates = " and ".join(f"({combinations[each].describe()})" for each in (first, index))
            fault = TextFault(f"{clip(duplicates, 200)} are the same job; give each value once", KEY)
            raise SpecError(*locate_faults([fault], parsed.positions))
    base_name = specs[0].name
    named_specs = [
        spec.model_copy(update={"name": f"{base_name[:190]}-{number}", "group": spec.group or base_name})
        for number, spec in enumerate(specs, 1)
    ]
    return SpecFile(
        name,
        tuple(named_specs),
        tuple(each.describe() for each in combinations),
        sweep=axes,
        name=base_name,
        positions=positions,
    )


def _qualify_fault(fault: TextFault, combinations: list[Combination], count: int) -> TextFault:
    """Says of a fault which combinations have it, where not all do."""
    if len(combinations) == count:
        return fault
    others = f", and {len(combinations) - 1} more" if combinations[1:] else ""
    return replace(fault, message=f"{fault.message} (with {clip(combinations[0].describe(), 100)}{others})")


def _check_job(document: dict[str, Any], positions: Positions, catalog: Catalog | None) -> JobSpec:
    """Validates one job's spec. Raises SpecError that does not name the file."""
    try:
        spec = JobSpec.model_validate(document)
    except ValidationError as error:
        faults = explain_faults(error, JobSpec, document, positions)
        faults += locate_faults(faults_of_losses(readable_losses(document.get("loss")), catalog), positions)
        raise SpecError(*faults) from None
    if faults := (
        _faults_of_live(spec)
        or faults_of_losses(spec.losses, catalog)
        or faults_of_batches(spec, catalog)
        or faults_of_live_reference(spec, catalog)
        or faults_of_reporters(spec, catalog)
        or _faults_of_name(spec)
    ):
        raise SpecError(*locate_faults(faults, positions))
    return spec


def _faults_of_live(spec: JobSpec) -> list[TextFault]:
    """Refuses the block of a model that a client holds: such a job has no file."""
    return [] if spec.live is None else [TextFault("is of clients of `prefd serve` alone; leave it out", "live")]


def _faults_of_name(spec: JobSpec) -> list[TextFault]:
    """Refuses a name that is no line of text."""
    if spec.name.isprintable():
        return []
    return [TextFault(f"must be printable and on one line, got {format_value(spec.name)}", "name")]


def _resolve_paths(spec: JobSpec, positions: Positions, folder: Path) -> JobSpec:
    """Makes the paths of `spec` absolute and checks each. Raises SpecError; OSError where the machine fails."""
    try:
        foreign = explain_foreign_paths(spec, folder)
        spec = spec.resolved(folder)
    except (OSError, ValueError) as error:  # a path with a NUL, or one that is too long
        path = os.fsdecode(getattr(error, "filename", None) or "")
        reason = f"it cannot be used: {getattr(error, 'strerror', None) or error}: {clip(path, 200)}".removesuffix(": ")
        raise SpecError(*locate_faults([TextFault(reason, find_setting(spec, path))], positions)) from None
    faults = [TextFault(reason, field) for field, reason in foreign.items()]
    try:
        faults += [fault for fault in faults_of_sources(spec) if fault.path not in foreign]
    except OSError as error:
        if error.errno in MACHINE_TROUBLE:
            raise
        place = Path(os.fsdecode(error.filename or folder))
        reason = f"cannot be looked at: {error.strerror or error}"
        if isinstance(error, PermissionError) and is_protected(place):
            reason = explain_refusal(place, error)
        faults += [TextFault(f"{clip(str(place), 200)} {reason}", find_setting(spec, str(place)))]
    if faults:
        raise SpecError(*locate_faults(faults, positions))
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
