"""`prefd logs` prints what a job's workers wrote."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands.shared.completions import JOB
from prefd.daemon.commands.shared.options import json_option, pass_timing, read_jobs
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.lost_folder import explain_missing, find_lost_folder
from prefd.daemon.machine.files import read_end
from prefd.daemon.machine.streams import end_with_reader
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.terminal import render
from prefd.daemon.timing import Timing

if TYPE_CHECKING:
    from prefd.daemon.jobs.table import JobTable


PLACE = HelpPlace(Section.JOBS, 70)


@click.command(
    epilog="""\b
Examples:
  prefd logs 3
  prefd logs 3 --last 20
  prefd logs 3 -f           until the job ends"""
)
@click.argument("job_id", metavar="ID", type=JOB)
@click.option("-f", "--follow", is_flag=True, help="Go on printing as lines come, until the job ends.")
@click.option("--last", "-n", type=click.IntRange(min=0), metavar="N", help="Only the last N lines (then follow).")
@json_option
@pass_timing
@click.pass_obj
def logs(home: Home, timing: Timing, job_id: int, follow: bool, last: int | None, as_json: bool) -> None:
    """Show what a job's worker processes wrote.

    Their messages, warnings and tracebacks. With --follow, until the job has ended.
    """
    if follow and as_json:
        raise click.UsageError("--follow has no end to make one JSON document of: leave out one of the two")
    if follow:
        end_with_reader()
    log = RunDir(home.job(job_id)).log
    with read_jobs(home) as jobs:
        job = jobs.get(job_id)
        text, position = read_from(log, 0)
        lines = text.splitlines()
        if last is not None:
            lines = lines[len(lines) - min(last, len(lines)) :]
        if as_json:
            render.emit_json({"job": job_id, "log": str(log), "lines": lines})
            return
        for line in lines:
            click.echo(line)
        if not text:
            lost = find_lost_folder(job, RunDir(home.job(job_id)))
            render.print_note(f"job {job_id} ({job.name}) {explain_missing(job, lost, 'log')}")
        if follow:
            for addition in follow_text(jobs, job_id, log, position, timing.log_look):
                click.echo(addition, nl=False)


def follow_text(jobs: JobTable, job_id: int, log: Path, position: int, pause: float) -> Iterator[str]:
    """Yields text as it is appended to `log` after `position`, until the job has ended and everything was read.

    `pause`: seconds between two looks.
    """
    while True:
        ended = jobs.get(job_id).ended  # asked before reading, so that the last lines are not missed
        text, position = read_from(log, position)
        if text:
            yield text
        elif ended:
            return
        else:
            time.sleep(pause)


def read_from(log: Path, position: int) -> tuple[str, int]:
    """Reads `log` from byte `position` on, and returns where it ends.

    Broken UTF-8 is shown as �. A log that is shorter than `position` was cut, and is read from its start.
    """
    try:
        with log.open("rb") as file:
            data, position = read_end(file, since=position)
    except FileNotFoundError:
        return "", position
    return data.decode("utf-8", errors="replace"), position + len(data)
