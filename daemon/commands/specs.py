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
    from prefd.daemon.spec import JobSpec
    from prefd.daemon.specfile import SpecError


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

    No model is loaded and nothing is written. Every error is shown; exit code 1 if there is one.
    """
    from prefd.daemon.catalog import load_catalog
    from prefd.daemon.describe import spec_facts
    from prefd.daemon.specfile import SpecError, load_spec

    home: Home = ctx.obj
    catalog = load_catalog(home)
    documents: list[dict[str, Any]] = []
    for path in specs:
        try:
            spec = load_spec(path, catalog)
        except SpecError as error:
            documents.append({"file": str(path), "ok": False, "errors": list(error.lines), "spec": None})
            if not as_json:
                Failure(complaint(path, error)).show()
            continue
        documents.append({"file": str(path), "ok": True, "errors": [], "spec": spec.model_dump(mode="json")})
        if not as_json:
            console = render.stdout()
            console.print(f"{path}: ok", soft_wrap=True)
            facts = [("name", spec.name), *spec_facts(spec, catalog.need_reference(spec.losses.values()))]
            console.print(render.facts([(f"  {name}", value) for name, value in facts]))
    if as_json:
        render.emit_json({"specs": documents})
    if not all(document["ok"] for document in documents):
        ctx.exit(Exit.FAILED)


def complaint(path: Path, error: SpecError) -> str:
    """The path as it was given, then each error, without the file name that they begin with."""
    return "\n".join([str(path), *(line.removeprefix(f"{path.name}: ") for line in error.lines)])


def check_specs(home: Home, paths: Sequence[Path]) -> list[tuple[Path, JobSpec]]:
    """Every spec, ready to run; one failure that names each file with an error, if any has one."""
    from prefd.daemon.catalog import load_catalog
    from prefd.daemon.specfile import SpecError, load_spec

    catalog = load_catalog(home)
    checked, errors = [], []
    for path in paths:
        try:
            checked.append((path, load_spec(path, catalog)))
        except SpecError as error:
            errors.append(complaint(path, error))
    if errors:
        raise Failure("\n".join(errors))
    return checked
