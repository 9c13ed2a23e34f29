"""`prefd watch` follows a job to its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands.shared.completions import JOB
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option, pass_timing, read_jobs
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.commands.shared.unattended import is_worked_on
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import RUNNING
from prefd.daemon.machine.streams import end_with_reader
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.terminal import render
from prefd.daemon.timing import Timing

if TYPE_CHECKING:
    from prefd.daemon.jobs.table import Job, JobTable


PLACE = HelpPlace(Section.JOBS, 80)


@click.command(
    epilog="""\b
Examples:
  prefd watch                     the running job, or the next in the queue
  prefd watch 3
  prefd watch 3 > progress.txt    plain lines where there is no terminal"""
)
@click.argument("job_id", metavar="[ID]", required=False, type=JOB)
@json_option
@pass_timing
@click.pass_context
def watch(ctx: click.Context, timing: Timing, job_id: int | None, as_json: bool) -> None:
    """Follow a job to its end.

    Shows its phase, progress, loss, accuracy, margin and time to go. Ctrl-C leaves the job running. With --json, one document when it has ended. Exit code 5 when the job does not succeed.
    """
    from rich.console import Console

    from prefd.daemon.jobs.details import JobDetails
    from prefd.daemon.terminal.job_view import make_job_view

    home: Home = ctx.obj
    end_with_reader()
    console = Console(stderr=True, highlight=False, markup=False) if as_json else render.open_stdout()
    with read_jobs(home) as jobs:
        job = choose_job(jobs) if job_id is None else jobs.get(job_id)
        run = RunDir(home.job(job.id))
        try:
            with make_job_view(home, console, timing) as view:
                for current in follow_job(home, jobs, job.id, timing):
                    view.update(job := current, run.progress())
        except KeyboardInterrupt:
            render.print_note(f"no longer watching; job {job.id} ({job.name}) goes on")
            ctx.exit(Exit.FAILED)
        if as_json:
            render.emit_json(JobDetails.read(jobs, job.id, run).to_json())
    if job.state != "done":
        ctx.exit(Exit.JOB_FAILED)


def choose_job(jobs: JobTable) -> Job:
    """Chooses the running job, else the next in the queue, else a paused one."""
    candidates = jobs.list(*RUNNING) or jobs.list("queued") or jobs.list("paused")
    if not candidates:
        raise Failure("no job is running, queued or paused: name one (see `prefd jobs`)", Exit.NOT_FOUND)
    return candidates[0]


def follow_job(home: Home, jobs: JobTable, job_id: int, timing: Timing) -> Iterator[Job]:
    """Yields the job as it is now and then, the last time ended. Raises a failure when nobody is there to work on it."""
    last_worked_on = None
    while True:
        job = jobs.get(job_id)
        yield job
        if job.ended:
            return
        if is_worked_on(home, job):
            last_worked_on = time.monotonic()
        elif last_worked_on is None or time.monotonic() - last_worked_on > timing.daemon_return:
            raise Failure(explain_no_owner(job), Exit.NO_DAEMON)
        time.sleep(timing.job_look)


def explain_no_owner(job: Job) -> str:
    """Says that nobody works on the job, and what to do."""
    if job.owner == "daemon":
        return f"the daemon is not running: job {job.id} ({job.name}) stays {job.state} until `prefd start --detach`"
    return f"the `prefd run` of job {job.id} ({job.name}) is gone: it ended in state {job.state}; run its spec again"
