"""`prefd wait` waits until jobs have ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands.shared.completions import JOBS
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option, pass_timing, read_jobs
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.commands.shared.selection import JobSelection, select_jobs, selection_options
from prefd.daemon.commands.shared.unattended import is_worked_on
from prefd.daemon.commands.shared.units import duration
from prefd.daemon.commands.watch import explain_no_owner
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.lost_folder import find_lost_folder
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.terminal import render
from prefd.daemon.text.times import format_duration
from prefd.daemon.text.wording import list_numbers
from prefd.daemon.timing import Timing

if TYPE_CHECKING:
    from prefd.daemon.jobs.job import Brief, Job
    from prefd.daemon.jobs.table import JobTable

PLACE = HelpPlace(Section.JOBS, 85)


@click.command(
    epilog="""\b
Examples:
  prefd wait 3 && prefd show 3
  prefd wait 3-5 --timeout 2h
  prefd wait --group sweep --any
  prefd wait --all"""
)
@selection_options(JOBS, "Every job that has not ended.")
@click.option("--any", "any_job", is_flag=True, help="Only until the first of them has ended.")
@click.option("--timeout", type=duration, metavar="TIME", help="No longer than this: 90s, 10m, 2h.")
@json_option
@pass_timing
@click.pass_context
def wait(
    ctx: click.Context, timing: Timing, selection: JobSelection, any_job: bool, timeout: float | None, as_json: bool
) -> None:
    """Wait until jobs have ended, and say how.

    Exit code 5 when one did not succeed, 1 when the time is over. A job that is paused or held is told of.
    """
    home: Home = ctx.obj
    ended: list[Job] = []
    chosen = select_jobs(home, selection, lambda job: not job.ended)
    if not chosen:
        render.print_note("there is no job to wait for")
    with read_jobs(home) as table:
        watcher = Waiting(home, table, [job.id for job in chosen], timing)
        try:
            for job in watcher.follow(any_job, timeout):
                ended.append(job)
                if not as_json:
                    show_end(home, job)
        except TimeIsOver as error:
            if as_json:
                render.emit_json({"jobs": [job.to_json() for job in ended], "waiting": error.waiting})
            raise
    if as_json:
        render.emit_json({"jobs": [job.to_json() for job in ended], "waiting": watcher.pending})
    if any(job.state != "done" for job in ended):
        ctx.exit(Exit.JOB_FAILED)


class TimeIsOver(Failure):
    """The time for which to wait is over; `waiting`: the jobs that have not ended."""

    def __init__(self, message: str, waiting: Sequence[int]) -> None:
        super().__init__(message)
        self.waiting = list(waiting)


class Waiting:
    """Waiting holds the jobs that are waited for, in the order in which they were named."""

    def __init__(self, home: Home, table: JobTable, job_ids: Sequence[int], timing: Timing) -> None:
        self.home = home
        self.table = table
        self.timing = timing
        self.pending = list(job_ids)
        self._told: dict[int, str] = {}
        self._last_worked_on: float | None = None

    def follow(self, any_job: bool, timeout: float | None) -> Iterator[Job]:
        """Yield the jobs as they end; with `any_job`, the first alone. Raises TimeIsOver, JobNotFound, Failure."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.pending:
            now = {job.id: job for job in self.table.briefs(self.pending)}
            for job_id in list(self.pending):
                if job_id not in now or now[job_id].ended:
                    self.pending.remove(job_id)
                    yield self.table.get(job_id)
                    if any_job:
                        return
            if not self.pending:
                return
            jobs = [now[job_id] for job_id in self.pending]
            self._tell_of_held(jobs)
            self._refuse_unowned(jobs)
            wait = self.timing.job_look
            if deadline is not None:
                if time.monotonic() >= deadline:
                    numbers = list_numbers(self.pending)
                    raise TimeIsOver(f"after {format_duration(timeout or 0)}: {numbers}: not ended", self.pending)
                wait = min(wait, max(deadline - time.monotonic(), 0.0))
            time.sleep(wait)

    def _tell_of_held(self, jobs: Sequence[Brief]) -> None:
        """Print of each job that is paused or held what it waits for, each time that it comes to that."""
        for job in jobs:
            reason = f"is paused: it goes on after `prefd resume {job.id}`" if job.state == "paused" else ""
            reason = f"is {job.waiting}" if job.waiting.startswith("held") else reason
            if reason and self._told.get(job.id) != reason:
                render.print_note(f"job {job.id} ({job.name}) {reason}")
            self._told[job.id] = reason

    def _refuse_unowned(self, jobs: Sequence[Brief]) -> None:
        """Raise where nobody has been there for a while to work on the first of the jobs."""
        job = self.table.get(jobs[0].id)
        if job.ended or is_worked_on(self.home, job):
            self._last_worked_on = time.monotonic()
        elif self._last_worked_on is None or time.monotonic() - self._last_worked_on > self.timing.daemon_return:
            raise Failure(explain_no_owner(job), Exit.NO_DAEMON)


def show_end(home: Home, job: Job) -> None:
    """Prints how a job ended, and that its folder is gone."""
    reason = (job.reason.splitlines() or [""])[0]
    click.echo(f"job {job.id} ({job.name}) {job.state}" + (f": {reason}" if reason else ""))
    if lost := find_lost_folder(job, RunDir(home.job(job.id))):
        render.print_note(f"job {job.id} ({job.name}): {lost}")
