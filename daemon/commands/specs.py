"""`prefd validate`: what a spec would run, or everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prefd.daemon import render
from prefd.daemon.commands.common import json_option
from prefd.daemon.commands.errors import Exit, Failure
from prefd.daemon.home import Home

if TYPE_CHECKING:
    from prefd.daemon.catalog import Catalog
    from prefd.daemon.spec import JobSpec
    from prefd.daemon.specfile import SpecError, SpecFile


@click.command(
    epilog="""\b
Examples:
  prefd validate ipo.yaml
  prefd validate sweep/*.yaml
  prefd validate ipo.yaml --json | jq '.specs[0].errors'"""
)
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
@click.pass_context
def validate(ctx: click.Context, specs: tuple[Path, ...], as_json: bool) -> None:
    """Check specs, and say what they would run.

    No model is loaded and nothing is written. Every error is shown; exit code 1 if there is one. Of a sweep, every
    combination is checked and listed.
    """
    from prefd.daemon.catalog import load_catalog
    from prefd.daemon.specfile import SpecError, load_specs

    home: Home = ctx.obj
    catalog = load_catalog(home)
    documents: list[dict[str, Any]] = []
    for path in specs:
        try:
            file = load_specs(path, catalog)
        except SpecError as error:
            documents.append(document(path, error.lines))
            if not as_json:
                Failure(complaint(path, error)).show()
            continue
        documents.append(document(path, (), file))
        if not as_json:
            tell(path, file, catalog)
    if as_json:
        render.emit_json({"specs": documents})
    if not all(document["ok"] for document in documents):
        ctx.exit(Exit.FAILED)


def document(path: Path, errors: Sequence[str], file: SpecFile | None = None) -> dict[str, Any]:
    """What `--json` says of one file: `spec` where it is one job, `jobs` always."""
    jobs = [] if file is None else [spec.model_dump(mode="json") for spec in file.specs]
    return {
        "file": str(path),
        "ok": not errors,
        "errors": list(errors),
        "notes": [] if file is None else list(file.notes),
        "spec": jobs[0] if len(jobs) == 1 else None,
        "jobs": jobs,
    }


def tell(path: Path, file: SpecFile, catalog: Catalog) -> None:
    """What a good file would run: of a sweep, each job's settings, and all of its first one."""
    from prefd.daemon.describe import amount, spec_facts

    console = render.stdout()
    several = "" if file.sweep is None else f", a sweep of {amount(len(file.specs), 'job')}"
    console.print(f"{path}: ok{several}", soft_wrap=True)
    if file.sweep is not None:
        rows = [(f"  {spec.name}", settings) for spec, settings in zip(file.specs, file.settings)]
        console.print(render.facts(rows))
    first = file.specs[0]
    facts = [("name", first.name), *spec_facts(first, catalog.need_reference(first.losses.values()))]
    console.print(render.facts([(f"  {name}", value) for name, value in facts]))
    tell_notes(file)


def tell_notes(file: SpecFile) -> None:
    for note in file.notes:
        render.note(f"{file.file}: {note}")


def complaint(path: Path, error: SpecError) -> str:
    """The path as it was given, then each error, without the file name that they begin with."""
    return "\n".join([str(path), *(line.removeprefix(f"{path.name}: ") for line in error.lines)])


def check_specs(home: Home, paths: Sequence[Path]) -> list[tuple[Path, SpecFile]]:
    """Every file's specs, ready to run; one failure that names each file with an error, if any has one."""
    from prefd.daemon.catalog import load_catalog
    from prefd.daemon.specfile import SpecError, load_specs

    catalog = load_catalog(home)
    checked, errors = [], []
    for path in paths:
        try:
            checked.append((path, load_specs(path, catalog)))
        except SpecError as error:
            errors.append(complaint(path, error))
    if errors:
        raise Failure("\n".join(errors))
    for _, file in checked:
        tell_notes(file)
    return checked


def check_spec(home: Home, path: Path) -> JobSpec:
    """The one job of a file, ready to run; a failure where it has an error or is a sweep."""
    [(_, file)] = check_specs(home, [path])
    return file.spec
