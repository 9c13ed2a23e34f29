"""`prefd open` shows the home, or a job's folder, in Finder or another file manager."""

from __future__ import annotations

import click

from prefd.daemon.commands.shared.completions import JOB
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option, read_jobs, require_home
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.lost_folder import explain_missing, find_lost_folder
from prefd.daemon.machine.desktop import open_folder
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.terminal import render

PLACE = HelpPlace(Section.DAEMON, 15)


@click.command(
    name="open",
    epilog="""\b
Examples:
  prefd open                the home, with the folder jobs/ that specs go into
  prefd open 3              the folder of job 3
  cd "$(prefd open 3)"      over ssh, where nothing is opened""",
)
@click.argument("job_id", metavar="[ID]", type=JOB, required=False)
@json_option
@click.pass_obj
def open_(home: Home, job_id: int | None, as_json: bool) -> None:
    """Show the home, or a job's folder, in the file manager.

    In Finder on a Mac. Over ssh, and where there is no desktop, nothing is opened. The folder's path is printed in any case.
    """
    folder = require_home(home).root
    if job_id is not None:
        run = RunDir(home.job(job_id))
        with read_jobs(home) as jobs:
            job = jobs.get(job_id)
        if (lost := find_lost_folder(job, run)) or not run.root.is_dir():
            raise Failure(f"job {job_id} ({job.name}) {explain_missing(job, lost, 'folder')}", Exit.NOT_FOUND)
        folder = run.root
    opening = open_folder(folder)
    if as_json:
        render.emit_json({"path": str(folder), "opened": opening.is_open, "detail": opening.words})
    else:
        click.echo(folder)
    render.print_note(opening.words)
