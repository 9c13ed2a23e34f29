"""`prefd submit` hands jobs in, and `prefd jobs` lists them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prefd.daemon.commands.shared.completions import GROUP, JOBS
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.job_changes import settle_alone
from prefd.daemon.commands.shared.options import json_option, pass_timing, read_jobs, require_home, warn_of_owner
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.commands.shared.unattended import explain_unattended
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import FAILURES, RUNNING, STATES
from prefd.daemon.runs.run_folder import Progress, RunDir
from prefd.daemon.terminal import render
from prefd.daemon.terminal.waiting import describe_waiting
from prefd.daemon.text.number_ranges import Numbers
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.times import format_clock, format_duration
from prefd.daemon.text.wording import pluralize
from prefd.daemon.timing import Timing

if TYPE_CHECKING:
    from rich.text import Text

    from prefd.daemon.jobs.table import Job
    from prefd.daemon.specs.reading import SpecFile
    from prefd.daemon.terminal.plain_table import PlainTable

PLACE = HelpPlace(Section.JOBS, 50)
NEWEST = 50
"""Jobs that `prefd jobs` shows unless it is told how many: what fits on a screen or two."""


@click.command(
    epilog="""\b
Examples:
  prefd submit ipo.yaml
  prefd submit sweep/*.yaml
  sed s/0.1/0.05/ ipo.yaml | prefd submit -
  prefd submit ipo.yaml --after 3 --not-before 02:00
  prefd submit ipo.yaml --json | jq '.submitted[].job'"""
)
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--priority", type=click.IntRange(-1000, 1000), metavar="N", help="The higher goes first; default 0.")
@click.option("--group", metavar="NAME", help="The group that they are to belong to.")
@click.option("--after", type=JOBS, metavar="ID", multiple=True, help="When these jobs are done: 3, 1-3 (repeatable).")
@click.option("--not-before", metavar="WHEN", help="2026-11-23 02:00, 02:00 (the next one), or +3h.")
@json_option
@pass_timing
@click.pass_obj
def submit(
    home: Home,
    timing: Timing,
    specs: tuple[Path, ...],
    priority: int | None,
    group: str | None,
    after: tuple[Numbers, ...],
    not_before: str | None,
    as_json: bool,
) -> None:
    """Check specs, and hand them to the daemon.

    A SPEC of - is standard input, and <(...) works too: relative paths then start where you are. If one of them has an error,
    none is handed in. Works without the daemon: the jobs are then picked up when it starts.

    The options say for all of them what a spec may say for itself. A job that runs is not stopped for one of higher
    priority. When a job that others run after fails, these fail too; when it is cancelled, they are held.
    """
    from prefd.daemon.commands.validate import check_specs
    from prefd.daemon.control.foreign_daemon import find_foreign_daemon
    from prefd.daemon.home import lock
    from prefd.daemon.inbox import submit as inbox

    warn_of_owner(require_home(home))
    if (foreign := find_foreign_daemon(home)) is not None:
        raise foreign
    after_ids = list_after(home, after)
    overrides = queue_settings(priority, after_ids, not_before) | ({} if group is None else {"group": group})
    spec_files = check_specs(home, specs)
    check_after(home, {each for _, file in spec_files for spec in file.specs for each in (after_ids or spec.after)})
    settle_alone(home)
    since = time.time()
    files = [inbox.submit(home, file.document() | overrides, file.file) for _, file in spec_files]
    daemon = lock.is_held(home)
    numbers = find_jobs(home, files, since, timing.job_number) if daemon else {}
    submitted = [
        {"spec": str(path), "name": spec.name, "settings": settings, "file": str(target), "job": number}
        for (path, file), target in zip(spec_files, files)
        for spec, settings, number in zip(file.specs, file.settings, numbers.get(target, [None] * len(file.specs)))
    ]
    if as_json:
        render.emit_json({"submitted": submitted, "daemon": daemon})
        return
    for (_, file), target in zip(spec_files, files):
        print_submitted(file, target, numbers.get(target))
    if not daemon:
        render.print_note("the daemon is not running: they are picked up at the next `prefd start`")
    elif len(numbers) < len(files):
        render.print_note("handed in, and not picked up yet: see `prefd jobs`")
    if daemon:
        tell_about_daemon(home)


def tell_about_daemon(home: Home) -> None:
    """Prints that the daemon is of another version, and what its queue waits for, where that is so."""
    from prefd.daemon.control.client import Client, DaemonNotRunning
    from prefd.daemon.control.control_error import ControlError
    from prefd.daemon.text.version_skew import describe_skew

    try:
        status = Client(home).status_document()
    except (DaemonNotRunning, ControlError):
        return
    if skew := describe_skew(str(status.get("version"))):
        render.print_warning(skew)
    if waits_for := (status.get("queue") or {}).get("waits_for"):
        render.print_note(f"it waits: {waits_for}")


def queue_settings(priority: int | None, after: Sequence[int], not_before: str | None) -> dict[str, Any]:
    """Turns the options into the settings that a spec has for them."""
    from prefd.daemon.text.times import explain_next_moment, parse_next_moment, write_moment

    settings: dict[str, Any] = {} if priority is None else {"priority": priority}
    if after:
        settings["after"] = list(after)
    if not_before is not None:
        try:
            now = datetime.now()
            settings["not_before"] = write_moment(parse_next_moment(not_before, now))
            for note in explain_next_moment(not_before, now):
                render.print_note(f"--not-before: {note}")
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--not-before") from None
    return settings


def list_after(home: Home, after: Sequence[Numbers]) -> list[int]:
    """Lists the jobs that `--after` names; of a range those that are there. Raises `Failure` where none of a range is."""
    ranges = [each for numbers in after for each in numbers.ranges]
    present: list[int] = []
    if any(len(each) > 1 for each in ranges):
        with read_jobs(home) as table:
            present = [job.id for job in table.briefs()]
    job_ids: list[int] = []
    for each in ranges:  # one that is named by itself may have been done and removed
        named = [job_id for job_id in present if job_id in each] if len(each) > 1 else [each.start]
        if not named:
            raise Failure(f"after: there are no jobs {Numbers((each,))}; see `prefd jobs`", Exit.NOT_FOUND)
        job_ids += named
    return list(dict.fromkeys(job_ids))


def check_after(home: Home, job_ids: set[int]) -> None:
    """Raises `Failure` where one of these jobs is missing or has failed. They all were handed in before: so none waits in a circle."""
    with read_jobs(home) as table:
        states = table.states(job_ids)
    for job_id in sorted(job_ids):
        if job_id not in states:
            raise Failure(f"after: there is no job {job_id}; see `prefd jobs`", Exit.NOT_FOUND)
        if states[job_id] in FAILURES:
            end = "fail" if states[job_id] == "failed" else "be held"
            raise Failure(
                f"after: job {job_id} is {states[job_id]}, so this one would {end}; `prefd retry {job_id}` first"
            )


def print_submitted(file: SpecFile, target: Path, numbers: Sequence[int] | None) -> None:
    """Prints the jobs that a file became, or where it waits to become them."""
    if numbers is None:
        click.echo(str(target))
    elif file.sweep is None:
        click.echo(f"job {numbers[0]}  {target.name}")
    else:
        for number, spec, settings in zip(numbers, file.specs, file.settings):
            click.echo(f"job {number}  {spec.name}  {settings}")


def find_jobs(home: Home, files: list[Path], since: float, seconds: float) -> dict[Path, list[int]]:
    """Finds the jobs each file became, as far as the daemon claims them in `seconds`. Raises `Failure` for a file set aside meanwhile."""
    deadline = time.monotonic() + seconds
    while True:
        numbers: dict[Path, list[int]] = {}
        with read_jobs(home) as jobs:
            for job in jobs.list():
                for file in files:
                    if job.source.endswith(f"-{file.name}") and job.created_at >= since - 1:
                        numbers.setdefault(file, []).append(job.id)
        for file in files:
            if (refusal := home.refusal(file.name)).exists() and refusal.stat().st_mtime >= since - 1:
                raise Failure(f"the daemon refused {file.name}:\n{refusal.read_text(encoding='utf-8').strip()}")
        if len(numbers) == len(files) or time.monotonic() > deadline:
            return numbers
        time.sleep(0.1)


OPTIONAL = ("place", "prio", "size")
"""Columns that are left out where no job has anything in them."""

ORDERS: Mapping[str, Callable[[Job, Mapping[int, int]], tuple[Any, ...]]] = {
    "id": lambda job, places: (job.id,),
    "place": lambda job, places: (places.get(job.id, 2**63), job.id),
    "priority": lambda job, places: (-job.priority, job.id),
    "name": lambda job, places: (job.name.casefold(), job.id),
    "group": lambda job, places: (job.group.casefold(), job.id),
    "state": lambda job, places: (STATES.index(job.state), job.id),
    "took": lambda job, places: (-sum(job.phase_seconds.values()), job.id),
    "size": lambda job, places: (-(job.bytes or 0), job.id),
}
"""What `--sort` sorts by; a key for each job, given the places in the queue."""


@click.command(
    epilog="""\b
Examples:
  prefd jobs
  prefd jobs --state queued --sort place
  prefd jobs --sort size --limit 10
  prefd jobs --state failed
  prefd jobs --all --json | jq '.jobs[] | select(.state == "done") | .id'"""
)
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only these (repeatable).")
@click.option("--group", metavar="NAME", type=GROUP, help="Only this group, such as a sweep's jobs.")
@click.option("--sort", type=click.Choice(list(ORDERS)), default="id", help="By what; default id, the oldest first.")
@click.option(
    "--limit", "--last", "limit", type=click.IntRange(min=1), metavar="N", help=f"Only the newest N; default {NEWEST}."
)
@click.option("--all", "everything", is_flag=True, help="All of them, however many.")
@json_option
@click.pass_obj
def jobs(
    home: Home,
    states: tuple[Any, ...],
    group: str | None,
    sort: str,
    limit: int | None,
    everything: bool,
    as_json: bool,
) -> None:
    """List the newest jobs, oldest first.

    Of a job that waits its place in the queue is shown, 1 for the next, and its priority where it has one; of one that has
    ended what its folder takes on disk. --sort size, took or priority puts the largest first, and --limit then shows these.

    How many older ones are not shown is said on stderr, and with --json in `older` too.
    """
    if everything and limit is not None:
        raise click.UsageError("give --all or --limit, not both")
    with read_jobs(home) as table:
        total, places = table.count(states, group), table.queue_places()
        most = total if everything else min(limit or NEWEST, total)
        newest, _ = table.page(states, group, None, most if sort == "id" else total)
    if sort != "id":
        newest = sorted(newest, key=lambda job: ORDERS[sort](job, places))[:most]
    older = total - len(newest)
    if older:
        noun = "older job" if sort == "id" else "other job"
        render.print_note(f"{pluralize(older, noun)} not shown; --all shows all {total:,}")
    if as_json:
        described = [
            job.to_json() | {"place": places.get(job.id), "unattended": explain_unattended(home, job)} for job in newest
        ]
        render.emit_json({"jobs": described, "older": older})
        return
    if not newest:
        filters = f" is {' or '.join(states)}" if states else " has been handed in yet: `prefd submit SPEC`"
        render.print_note(f"no job{filters}" if group is None else f"no such job in group {group}")
        return
    render.open_stdout().print(make_jobs_table(home, newest, places))


def make_jobs_table(home: Home, jobs: Sequence[Job], places: Mapping[int, int]) -> PlainTable:
    """Makes the table of jobs; places, priorities and sizes have a column where a job has one."""
    columns: dict[str, list[str | Text]] = {
        "id": [str(job.id) for job in jobs],
        "state": [render.color_state(job.state) for job in jobs],
        "place": [str(places.get(job.id, "")) for job in jobs],
        "prio": [str(job.priority or "") for job in jobs],
        "submitted": [format_clock(job.created_at) for job in jobs],
        "took": [format_duration(sum(job.phase_seconds.values())) if job.phase_seconds else "-" for job in jobs],
        "size": ["" if job.bytes is None else format_size(job.bytes) for job in jobs],
        "name": [render.cut_cell(job.name) for job in jobs],
        "progress, or why": [render.cut_cell(describe_job(home, job)) for job in jobs],
    }
    shown = {name: cells for name, cells in columns.items() if name not in OPTIONAL or any(map(str, cells))}
    return render.make_table(list(shown), list(zip(*shown.values(), strict=True)), right=["id", "took", *OPTIONAL])


def describe_job(home: Home, job: Job) -> str:
    """Describes progress while it runs, what it waits for; the reason otherwise, or what its sweep sets in it."""
    progress = RunDir(home.job(job.id)).progress() if job.state in RUNNING else None
    unattended = explain_unattended(home, job)
    if progress is not None or unattended:
        return ", ".join(filter(None, [format_progress(progress) if progress else "", unattended]))
    return describe_waiting(job) or job.reason or job.description


def format_progress(progress: Progress) -> str:
    """Formats how much of the phase is done."""
    share = f" ({progress.done / progress.total:.0%})" if progress.total else ""
    note = f", {progress.note}" if progress.note else ""
    return f"{progress.describe_count()}{share}{note}"
