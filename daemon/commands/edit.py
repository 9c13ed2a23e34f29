"""`prefd edit` changes jobs that wait: their place in the queue, their names and their specs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prefd.daemon.commands.shared.completions import WAITING_JOBS, JobNumbers
from prefd.daemon.commands.shared.errors import Failure
from prefd.daemon.commands.shared.job_changes import edit_job, edit_settings
from prefd.daemon.commands.shared.options import json_option, read_jobs
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.commands.shared.selection import JobSelection, select_jobs
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import WAITING
from prefd.daemon.terminal import render
from prefd.daemon.text.number_ranges import Numbers

if TYPE_CHECKING:
    from prefd.daemon.jobs.job import Brief, Job
    from prefd.daemon.specs.job_spec import JobSpec

PLACE = HelpPlace(Section.JOBS, 101)

EDITED = "edited by you: "
"""How the reason of an edited job begins; the changes follow."""

NONE = "none"
"""What takes a setting out."""


class NumbersOrNone(JobNumbers):
    """NumbersOrNone is a list of jobs' numbers, or `none`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Converts the list to Numbers; `none` to None."""
        return Numbers(()) if value == NONE else super().convert(value, param, ctx)


@click.command(
    epilog="""\b
Examples:
  prefd edit 4 --priority 5
  prefd edit 4-9 --group night --not-before 22:00
  prefd edit 12 --after 13          in place of a job that was cancelled
  prefd edit 12 --after none
  prefd edit 4                      its spec, in $EDITOR
  prefd edit 4 --spec ipo.yaml"""
)
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True, type=WAITING_JOBS)
@click.option("--priority", type=click.IntRange(-1000, 1000), metavar="N", help="The higher goes first.")
@click.option("--name", metavar="NAME", help="What the job is called.")
@click.option("--group", metavar="NAME", help="The group that it is to belong to, or none.")
@click.option(
    "--after", type=NumbersOrNone(), metavar="ID", multiple=True, help="When these jobs are done (repeatable), or none."
)
@click.option("--not-before", metavar="WHEN", help="2026-11-23 02:00, 02:00 (the next one), +3h, or none.")
@click.option("--spec", metavar="FILE", type=click.Path(path_type=Path), help="Another spec, from a file (- is stdin).")
@json_option
@click.pass_obj
def edit(
    home: Home,
    job_ids: tuple[Numbers, ...],
    priority: int | None,
    name: str | None,
    group: str | None,
    after: tuple[Numbers, ...],
    not_before: str | None,
    spec: Path | None,
    as_json: bool,
) -> None:
    """Change jobs that are queued or paused.

    Without an option the job's spec is opened in $EDITOR; it is checked when you are done, and taken as a whole or not at all.
    A job that has begun, and was paused or put back, goes on with the spec that it began with: of it only --priority, --name,
    --group, --after and --not-before can change. An edit that is accepted takes effect: a job that starts meanwhile is
    refused. Several jobs are changed all or none; of a range, those that wait. Works without the daemon too.
    """
    if name is not None and not name.strip():
        raise click.UsageError("--name: the name is empty; is it a variable that is not set?")
    settings = read_settings(home, priority, name, group, after, not_before)
    with read_jobs(home) as table:
        newest = table.last_change()
    jobs = select_jobs(home, JobSelection(job_ids), lambda job: job.state in WAITING, narrow_ranges=True)
    if len(jobs) > 1 and (name is not None or spec is not None or not settings):
        raise click.UsageError(f"a name or a spec is edited of one job at a time, and these are {len(jobs)}")
    if not jobs:
        show_edited(home, [], newest, as_json)
    elif spec is not None:
        request: Mapping[str, Any] = {"spec": read_spec_file(home, spec, jobs[0]), "settings": settings}
        show_edited(home, [edit_job(home, jobs[0].id, request)], newest, as_json)
    elif settings:
        show_edited(home, edit_settings(home, [job.id for job in jobs], settings), newest, as_json)
    elif (job := edit_in_editor(home, jobs[0].id)) is not None:
        show_edited(home, [job], newest, as_json)
    else:
        render.print_note(f"job {jobs[0].id} ({jobs[0].name}) is left as it was")


def read_settings(
    home: Home,
    priority: int | None,
    name: str | None,
    group: str | None,
    after: Sequence[Numbers],
    not_before: str | None,
) -> dict[str, Any]:
    """Turns the options into the settings of a spec that they change."""
    from prefd.daemon.commands.jobs import list_after, queue_settings

    settings: dict[str, Any] = {} if priority is None else {"priority": priority}
    settings |= {} if name is None else {"name": name}
    settings |= {} if group is None else {"group": "" if group == NONE else group}
    if after:
        settings["after"] = list_after(home, after)
    if not_before is not None:
        settings |= {"not_before": None} if not_before == NONE else queue_settings(None, (), not_before)
    return settings


def read_spec_file(home: Home, path: Path, job: Brief) -> dict[str, Any]:
    """Reads the one spec in a file, checked, as JSON. The job's name and place in the queue stay where it says nothing of them."""
    from prefd.daemon.commands.validate import check_specs
    from prefd.daemon.jobs.edits import SETTINGS

    [(_, file)] = check_specs(home, [path])
    with read_jobs(home) as table:
        before = table.spec(job.id).model_dump(mode="json", exclude_unset=True)
    document = file.spec.model_dump(mode="json", exclude_unset=True)
    if document.get("name") == Path(file.file).stem:  # which is what it is called where it names no job
        del document["name"]
    return {key: before[key] for key in SETTINGS if key in before} | document


def edit_in_editor(home: Home, job_id: int) -> Job | None:
    """Lets the user edit the job's spec until it is valid, and takes it; None where nothing was changed."""
    from prefd.daemon.control.control_error import ControlError
    from prefd.daemon.jobs.edits import NotEditable, refuse_uneditable
    from prefd.daemon.specs.reading import read_spec
    from prefd.daemon.specs.spec_error import SpecError

    with read_jobs(home) as table:
        job, before = table.get(job_id), table.spec(job_id)
    refuse_uneditable(job)
    base = before.model_dump(mode="json", exclude_unset=True)
    text, faults = write_spec(before), list[str]()
    while True:
        shown = write_header(job, faults) + text
        edited = click.edit(shown, extension=".yaml")
        if edited is None or strip_header(edited) == text:
            if faults:
                raise Failure(
                    "the spec was not changed after its errors were shown; nothing was taken\n" + "\n".join(faults)
                )
            return None
        text = strip_header(edited)
        try:
            spec = read_spec(text.encode(), "spec.yaml")
            if spec == before:
                return None
            return edit_job(home, job_id, {"spec": spec.model_dump(mode="json", exclude_unset=True), "base": base})
        except SpecError as error:
            faults = [str(fault) for fault in error.faults]
        except NotEditable:
            raise
        except ControlError as error:
            if error.status != 422:
                raise
            faults = str(error).splitlines()


HEADER = "#:"
"""How the lines begin that are prefd's own, and not the spec's."""


def write_header(job: Job, faults: Sequence[str]) -> str:
    """Writes the lines above the spec: what it is, and what is wrong with what was written."""
    lines = [f"job {job.id} ({job.name}), {job.state}. Save and leave to take it; change nothing to leave it as it is."]
    lines += ["", "It cannot be taken so:", *(f"  {fault}" for fault in faults)] if faults else []
    return "".join(f"{HEADER} {line}".rstrip() + "\n" for line in lines)


def strip_header(text: str) -> str:
    """Takes the lines above the spec out again."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(HEADER))


def write_spec(spec: JobSpec) -> str:
    """Writes a spec as YAML, with what it sets and no default."""
    import io

    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 4096
    out = io.StringIO()
    yaml.dump(spec.model_dump(mode="json", exclude_unset=True), out)
    return out.getvalue()


def show_edited(home: Home, jobs: Sequence[Job], newest: int, as_json: bool) -> None:
    """Prints what became of the jobs. `newest`: the number of the last change before the edit."""
    if as_json:
        render.emit_json({"jobs": [job.to_json() for job in jobs]})
        return
    if not jobs:
        render.print_note("there is no job to edit")
    with read_jobs(home) as table:
        edits = {
            change.job_id: change.reason.removeprefix(EDITED)
            for job in jobs
            for change in table.changes(newest, len(jobs) + 1, job.id)
            if change.reason.startswith(EDITED)
        }
    for job in jobs:
        click.echo(f"job {job.id} ({job.name}): {edits.get(job.id, 'as it was')}")
