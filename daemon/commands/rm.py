"""`prefd rm` removes jobs that have ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands.shared.completions import ENDED_JOBS
from prefd.daemon.commands.shared.job_changes import change_jobs
from prefd.daemon.commands.shared.options import json_option, read_jobs
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.commands.shared.selection import JobSelection, select_jobs, selection_options
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.disk_usage import measure_run
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.terminal import render
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.wording import pluralize

if TYPE_CHECKING:
    from prefd.daemon.jobs.job import Brief

PLACE = HelpPlace(Section.JOBS, 102)
MOST_LINES = 20


@click.command(
    epilog="""\b
Examples:
  prefd rm 3
  prefd rm 1-9 --dry-run
  prefd rm --state failed
  prefd rm --group sweep --json | jq .bytes"""
)
@selection_options(ENDED_JOBS, "Every job that has ended.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@json_option
@click.pass_obj
def rm(home: Home, selection: JobSelection, dry_run: bool, as_json: bool) -> None:
    """Remove jobs that have ended, for good.

    Of each goes the run folder with its adapter, the row with its history, and the accepted spec. What was scored stays in
    the cache. The number is not given out again. `prefd archive ID` keeps what is worth it first.

    Either all of them are removed or none: a job that runs or waits is refused, and so is one that another still waits for
    or whose folder holds files of another job. With --group, --state and --all such a job stays. Works without the daemon
    too.
    """
    jobs, stay_reasons = leave_needed(home, selection, select_jobs(home, selection, lambda job: job.ended))
    if dry_run:
        with read_jobs(home) as table:
            table.refuse_unremovable([job.id for job in jobs])
    sizes = measure_jobs(home, jobs)
    problems = change_jobs(home, "remove", [job.id for job in jobs]) if jobs and not dry_run else []
    if as_json:
        removed = [{"job": job.id, "name": job.name, "state": job.state, "bytes": sizes[job.id]} for job in jobs]
        total = sum(sizes.values())
        left = [{"job": job_id, "reason": reason} for job_id, reason in stay_reasons.items()]
        render.emit_json({"removed": removed, "bytes": total, "dry_run": dry_run, "kept": left, "problems": problems})
        return
    for job_id, reason in list(stay_reasons.items())[:MOST_LINES]:
        render.print_note(f"job {job_id} stays: {reason}")
    if not jobs:
        render.print_note("there is no job to remove")
    show_removed(jobs, sizes, "would be removed" if dry_run else "is removed")
    for problem in problems:
        render.print_warning(problem)


def leave_needed(home: Home, selection: JobSelection, jobs: Sequence[Brief]) -> tuple[Sequence[Brief], dict[int, str]]:
    """Leaves out of a group, a state or all what cannot be removed though it has ended. Returns the others, and why each stays."""
    from prefd.daemon.jobs.cleaning import explain_foreign_files, explain_need

    if not (selection.groups or selection.states or selection.everything):
        return jobs, {}
    named = {number for numbers in selection.numbers for number in numbers.single}
    with read_jobs(home) as table:
        dependents = table.list_dependents()
    reasons = {
        job.id: explain_need(job, dependents) or explain_foreign_files(home.runs, job)
        for job in jobs
        if job.id not in named
    }
    stay_reasons = {job_id: reason for job_id, reason in reasons.items() if reason}
    return [job for job in jobs if job.id not in stay_reasons], stay_reasons


def measure_jobs(home: Home, jobs: Sequence[Brief]) -> dict[int, int]:
    """Returns what each job's folder takes, as it was measured when it ended.

    Of the first few where that was not done, it is measured now; of the others the number is not known, and counts as none.
    """
    unmeasured = [job.id for job in jobs if job.bytes is None][:MOST_LINES]
    sizes = {job.id: job.bytes or 0 for job in jobs}
    return sizes | {job_id: measure_run(RunDir(home.job(job_id))).bytes for job_id in unmeasured}


def show_removed(jobs: Sequence[Brief], sizes: dict[int, int], verb: str) -> None:
    """Prints the jobs, a line each where they are few, and what they took together."""
    if len(jobs) <= MOST_LINES:
        for job in jobs:
            click.echo(f"job {job.id} ({job.name}) {verb}: {format_size(sizes[job.id])}")
    if len(jobs) > 1:
        click.echo(f"{pluralize(len(jobs), 'job')}, {format_size(sum(sizes.values()))}")
