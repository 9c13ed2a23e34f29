"""`prefd show` prints all there is to know of one job."""

from __future__ import annotations

import click

from prefd.daemon.commands.shared.completions import JOB
from prefd.daemon.commands.shared.options import json_option, read_jobs
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.commands.shared.unattended import explain_unattended
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.terminal import render

PLACE = HelpPlace(Section.JOBS, 60)


@click.command(
    epilog="""\b
Examples:
  prefd show 3
  prefd show 3 --json | jq -r .adapter"""
)
@click.argument("job_id", metavar="ID", type=JOB)
@json_option
@click.pass_obj
def show(home: Home, job_id: int, as_json: bool) -> None:
    """Show all there is to know of a job.

    Its state and why, what it runs, its history, what its data gave, how training went, and where the adapter is.
    """
    from prefd.daemon.jobs.details import JobDetails
    from prefd.daemon.terminal import report

    with read_jobs(home) as jobs:
        details = JobDetails.read(jobs, job_id, RunDir(home.job(job_id)))
    if as_json:
        render.emit_json(details.to_json() | {"unattended": explain_unattended(home, details.job)})
    else:
        if unattended := explain_unattended(home, details.job):
            render.print_note(f"job {job_id} is {unattended}")
        render.open_stdout().print(render.make_facts(report.job_facts(details)))
