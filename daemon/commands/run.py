"""`prefd run` runs one job, here and now, with no daemon."""

from __future__ import annotations

from pathlib import Path

import click

from prefd.daemon.commands.init import make_home
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.commands.shared.job_changes import settle_alone
from prefd.daemon.commands.shared.options import json_option, pass_timing, require_home, warn_of_owner
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.commands.validate import check_spec
from prefd.daemon.home.layout import Home
from prefd.daemon.machine import blas
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.terminal import render
from prefd.daemon.timing import Timing

PLACE = HelpPlace(Section.JOBS, 10)


@click.command(
    epilog="""\b
Examples:
  prefd run ipo.yaml
  prefd run ipo.yaml --precompute-only      fill the cache, train nothing
  prefd run ipo.yaml --json > result.json   progress on stderr, the result on stdout"""
)
@click.argument("spec_path", metavar="SPEC", type=click.Path(path_type=Path))
@click.option("--precompute-only", is_flag=True, help="Score what is missing with the reference, then end.")
@json_option
@pass_timing
@click.pass_context
def run(ctx: click.Context, timing: Timing, spec_path: Path, precompute_only: bool, as_json: bool) -> None:
    """Run one SPEC here and now, without the daemon.

    Exit code 5 when the job does not succeed. Ctrl-C ends it cleanly; what was scored by then stays in the cache. The job is kept in the home like any other.
    """
    from prefd.daemon.queue.worker_ahead import WorkerAhead

    home: Home = ctx.obj
    ahead = WorkerAhead.start(home)  # it imports the model library while the spec is checked here
    if ahead is not None:
        ctx.with_resource(ahead)

    from rich.console import Console

    from prefd.daemon.home.settings import Config
    from prefd.daemon.jobs.details import JobDetails
    from prefd.daemon.jobs.table import JobTable
    from prefd.daemon.queue.foreground import run_in_foreground
    from prefd.daemon.specs.catalog_listing import load_catalog
    from prefd.daemon.specs.summary import describe_queue
    from prefd.daemon.terminal.job_view import make_job_view

    blas.preload()  # for its warning, which would otherwise be in the worker's log only
    config = Config.load(home)
    spec = check_spec(home, spec_path)
    if precompute_only:
        spec = spec.without_training()
    if home.root.is_dir():
        warn_of_owner(require_home(home))
        settle_alone(home)
    else:
        make_home(home)
        render.print_note(f"made a home at {home.root}")
    if turn := describe_queue(spec):
        render.print_note(f"{turn}: that is the daemon's to keep; this job starts now")
    console = Console(stderr=True, highlight=False, markup=False) if as_json else render.open_stdout()
    with make_job_view(home, console, timing) as view:
        job = run_in_foreground(
            home,
            spec,
            str(spec_path.absolute()),
            load_catalog(home),
            view.update,
            grace=config.stop_grace_seconds,
            limits=config.worker,
            ahead=ahead,
        )
        view.update(job, None)
    if as_json:
        with JobTable.open_readonly(home.database) as jobs:
            history = jobs.history(job.id)
        render.emit_json(JobDetails.collect(job, spec, history, RunDir(home.job(job.id))).to_json())
    if job.state != "done":
        ctx.exit(Exit.JOB_FAILED)
