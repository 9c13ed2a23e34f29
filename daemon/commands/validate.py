"""`prefd validate` shows what a spec would run, or everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option
from prefd.daemon.commands.shared.references import ask_worker
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render

if TYPE_CHECKING:
    from prefd.daemon.runs.data_summary import DataSummary
    from prefd.daemon.specs.catalog import Catalog
    from prefd.daemon.specs.job_spec import JobSpec
    from prefd.daemon.specs.reading import SpecFile
    from prefd.daemon.specs.spec_error import SpecError
    from prefd.daemon.worker_tasks.answers import DataCheck


PLACE = HelpPlace(Section.JOBS, 20)


@dataclass(frozen=True)
class DataLook:
    """DataLook is what was found in the data of jobs whose pairs are the same tokens."""

    jobs: Sequence[str]
    """Their names."""
    data: DataSummary | None
    not_reached: str | None
    """Why there is no data report."""
    unchecked: str | None
    """What of any of them could not be looked at."""

    def to_json(self) -> dict[str, Any]:
        """Describes it as `--json` prints it."""
        data = None if self.data is None else self.data.to_json()
        return {
            "jobs": list(self.jobs),
            "data": data,
            "not_reached": self.not_reached,
            "unchecked": self.unchecked,
        }


@click.command(
    epilog="""\b
Examples:
  prefd validate ipo.yaml
  prefd validate sweep/*.yaml
  prefd validate ipo.yaml --no-data          look at the spec alone
  prefd validate ipo.yaml --json | jq '.specs[0].errors'"""
)
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--no-data", is_flag=True, help="Look at the spec alone, without opening its data.")
@json_option
@click.pass_context
def validate(ctx: click.Context, specs: tuple[Path, ...], no_data: bool, as_json: bool) -> None:
    """Check specs and their data, and say what they would run.

    The data is read and tokenized as a job would, no weights are loaded and nothing is written. Every error is shown; exit code 1 if there is one. Of a sweep, every combination is checked and listed. Data on the hub that cannot be reached now is no error, and is said.
    """
    from prefd.daemon.specs.catalog_listing import load_catalog
    from prefd.daemon.specs.reading import load_specs
    from prefd.daemon.specs.spec_error import SpecError

    home: Home = ctx.obj
    catalog = load_catalog(home)
    warn_of_plugins(catalog)
    results: dict[Path, SpecFile | SpecError] = {}
    for path in specs:
        try:
            results[path] = load_specs(path, catalog)
        except SpecError as error:
            results[path] = error
    if not no_data:
        results, looks = look_at_data(home, results)
    documents: list[dict[str, Any]] = []
    for path, file in results.items():
        if isinstance(file, SpecError):
            documents.append(describe_json(path, file))
            if not as_json:
                Failure(format_errors(path, file)).show()
            continue
        file_looks = [] if no_data else looks[path]
        documents.append(describe_json(path, file, file_looks))
        if not as_json:
            show_file(path, file, catalog, file_looks)
    if as_json:
        render.emit_json({"specs": documents})
    if not all(document["ok"] for document in documents):
        ctx.exit(Exit.FAILED)


def look_at_data(
    home: Home, results: Mapping[Path, SpecFile | SpecError]
) -> tuple[dict[Path, SpecFile | SpecError], dict[Path, list[DataLook]]]:
    """Replaces each file whose data a run would refuse by an error, and returns what was found in the others'.

    One worker looks at all of it, so that files and sweeps over the same data read it once.
    """
    from prefd.daemon.specs.spec_error import SpecError
    from prefd.daemon.worker_tasks.answers import DataChecks
    from prefd.daemon.worker_tasks.inputs import DataCheckInput

    files = {path: file for path, file in results.items() if not isinstance(file, SpecError)}
    specs = [spec for file in files.values() for spec in file.specs]
    answers = iter(ask_worker(home, "check-data", DataCheckInput(specs=specs), DataChecks).checks if specs else [])
    checked_results, looks = dict(results), {}
    for path, file in files.items():
        checks = [next(answers) for _ in file.specs]
        if faults := list(dict.fromkeys(check.error for check in checks if check.error is not None)):
            checked_results[path] = SpecError(*faults)
        else:
            looks[path] = group_by_tokens(file, checks)
    return checked_results, looks


def group_by_tokens(file: SpecFile, checks: Sequence[DataCheck]) -> list[DataLook]:
    """Groups what was found of the file's jobs, once for those whose pairs are the same tokens."""
    from prefd.daemon.worker_tasks.previews import compute_tokens_key

    looks: dict[str, DataLook] = {}
    for spec, check in zip(file.specs, checks):
        key = compute_tokens_key(spec)
        look = looks.get(key, DataLook([], check.data, check.not_reached, None))
        looks[key] = replace(look, jobs=[*look.jobs, spec.name], unchecked=look.unchecked or check.unchecked)
    return list(looks.values())


def describe_json(path: Path, result: SpecFile | SpecError, looks: Sequence[DataLook] = ()) -> dict[str, Any]:
    """Describes one file as `--json` prints it: `spec` where it is one job, `jobs` always, `data` as in `group_by_tokens`.

    `faults` are the `errors` in parts, for a program that marks them in the text.
    """
    from prefd.daemon.specs.spec_error import SpecError

    error = result if isinstance(result, SpecError) else None
    file = None if isinstance(result, SpecError) else result
    jobs = [] if file is None else [spec.model_dump(mode="json") for spec in file.specs]
    return {
        "file": str(path),
        "ok": error is None,
        "errors": [] if error is None else list(error.lines),
        "faults": [] if error is None else [fault.to_json() for fault in error.faults],
        "notes": [] if file is None else list(file.notes),
        "spec": jobs[0] if len(jobs) == 1 else None,
        "jobs": jobs,
        "data": [look.to_json() for look in looks],
    }


def show_file(path: Path, file: SpecFile, catalog: Catalog, looks: Sequence[DataLook]) -> None:
    """Prints what a good file would run: of a sweep, each job's settings, all of its first one, and every different data."""
    from prefd.daemon.specs.summary import spec_facts
    from prefd.daemon.terminal.preview import data_facts
    from prefd.daemon.text.wording import format_amount

    console = render.open_stdout()
    sweep_remark = "" if file.sweep is None else f", a sweep of {format_amount(len(file.specs), 'job')}"
    console.print(f"{path}: ok{sweep_remark}", soft_wrap=True)
    if file.sweep is not None:
        rows = [(f"  {spec.name}", settings) for spec, settings in zip(file.specs, file.settings)]
        console.print(render.make_facts(rows))
    first = file.specs[0]
    facts = [("name", first.name), *spec_facts(first, catalog.need_reference(first.loss_names))]
    for look in looks:
        name = "rows" if len(looks) == 1 else f"rows of {look.jobs[0]}"
        facts += [(name, "not looked at")] if look.data is None else data_facts(name, look.data)
    console.print(render.make_facts([(f"  {name}", value) for name, value in facts]))
    show_notes(file)
    for reason in dict.fromkeys(look.not_reached for look in looks if look.not_reached):
        render.print_warning(f"{file.file}: its data was not looked at: {reason}")
    for setting in dict.fromkeys(look.unchecked for look in looks if look.unchecked):
        render.print_warning(f"{file.file}: not looked at: {setting}")


def show_notes(file: SpecFile) -> None:
    """Prints what the file's author should know."""
    for note in file.notes:
        render.print_note(f"{file.file}: {note}")


def format_errors(path: Path, error: SpecError) -> str:
    """Formats the path as it was given, then each error, without the file name that they begin with."""
    return "\n".join([str(path), *map(str, error.faults)])


def check_specs(home: Home, paths: Sequence[Path]) -> list[tuple[Path, SpecFile]]:
    """Reads every file's specs, ready to run. Raises one failure that names each file with an error."""
    from prefd.daemon.specs.catalog_listing import load_catalog
    from prefd.daemon.specs.reading import load_specs
    from prefd.daemon.specs.spec_error import SpecError

    catalog = load_catalog(home)
    files, errors = [], []
    for path in paths:
        try:
            files.append((path, load_specs(path, catalog)))
        except SpecError as error:
            errors.append(format_errors(path, error))
    if errors:
        raise Failure("\n".join(errors))
    warn_of_plugins(catalog)
    for _, file in files:
        show_notes(file)
    return files


def warn_of_plugins(catalog: Catalog) -> None:
    """Warns of plugins that could not be loaded: a spec that needs one of them is refused, and others go on without."""
    for plugin in catalog.failed:
        render.print_warning(f"the plugin {plugin.name} cannot be loaded, and is left out: {plugin.error}")


def check_spec(home: Home, path: Path) -> JobSpec:
    """Reads the one job of a file, ready to run. Raises a failure where it has an error or is a sweep."""
    [(_, file)] = check_specs(home, [path])
    return file.spec
