"""`prefd report` reports a job to other tools, or says how far its reports are."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands.shared.completions import JOB
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option, pass_timing, read_jobs, require_home
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.report_files import list_reports
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.terminal import render
from prefd.daemon.timing import Timing

if TYPE_CHECKING:
    from prefd.daemon.jobs.table import Job

PLACE = HelpPlace(Section.JOBS, 128)


@click.command(
    epilog="""\b
Examples:
  prefd report 3                     how far its reports are
  prefd report 3 --to tensorboard
  prefd report 3 --to wandb --to trackio"""
)
@click.argument("job_id", metavar="ID", type=JOB)
@click.option(
    "--to",
    multiple=True,
    metavar="NAME",
    help="Report it to this tool, which `prefd plugins` lists; can be given several times.",
)
@json_option
@pass_timing
@click.pass_obj
def report(home: Home, timing: Timing, job_id: int, to: tuple[str, ...], as_json: bool) -> None:
    """Report a job to trackio, TensorBoard or another tool.

    All that its metrics.jsonl has by now, and the tool has not; a job is reported as it trains where its spec says so with report_to. Nothing is sent twice.
    """
    require_home(home)
    with read_jobs(home) as jobs:
        job = jobs.get(job_id)
    run = RunDir(home.job(job_id), job.ulid)
    failures = [failure for name in dict.fromkeys(to) if (failure := _report(home, timing, job, name)) is not None]
    reports = list_reports(run)
    if as_json:
        render.emit_json({"job": job_id, "reports": [asdict(each) for each in reports]})
    elif not reports and not to:
        render.print_note(f"job {job_id} was reported to no tool: `prefd report {job_id} --to NAME`")
    for each in [] if as_json else reports:
        render.open_stdout().print(each.describe(), soft_wrap=True)
        if each.error and not failures:
            render.print_warning(f"{each.to}: {each.error}")
    if failures:
        raise Failure("\n".join(failures), Exit.FAILED)


def _report(home: Home, timing: Timing, job: Job, name: str) -> str | None:
    """Report the job to one tool, in a worker of this process. Returns why that failed."""
    from prefd.daemon.commands.shared.references import ask_worker
    from prefd.daemon.home.settings import Config
    from prefd.daemon.specs.catalog_listing import load_catalog
    from prefd.daemon.specs.reporter_faults import explain_reporter
    from prefd.daemon.worker_tasks.reports import JobEnd, Reported, ReportInput

    if (fault := explain_reporter(name, load_catalog(home))) is not None:
        return fault
    project = Config.load(home).report.project
    end = JobEnd(state=job.state, reason=job.reason) if job.ended else None  # type: ignore[arg-type]
    request = ReportInput(job=job.id, to=name, project=project, call_seconds=timing.report_call, end=end)
    try:
        ask_worker(home, "report", request, Reported)
    except Failure as failure:
        return f"{name}: {failure}"
    return None
