"""`prefd metrics` shows what training logged, as a table or a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prefd.daemon.commands.shared.completions import JOB
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option, read_jobs
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.lost_folder import explain_missing, find_lost_folder
from prefd.daemon.runs.metrics_rows import read_last_rows, read_metrics_rows
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.specs.summary import describe_loss
from prefd.daemon.terminal import render
from prefd.daemon.text.wording import format_number
from prefd.plugins.metrics import EVAL, METRICS, OF_PAIRS, PART

if TYPE_CHECKING:
    from prefd.daemon.terminal.plain_table import PlainTable

PLACE = HelpPlace(Section.JOBS, 110)
Row = dict[str, Any]

COLUMNS = {each.name: each.heading for each in METRICS.values() if each.heading}
"""Two-line headings, so that the whole table fits 80 columns under the metrics' own names."""
EVAL_COLUMNS = ("step", "epoch", *(each.name for each in OF_PAIRS if each.heading))


@click.command(
    epilog="""\b
Examples:
  prefd metrics 3
  prefd metrics 3 --last 10
  prefd metrics 3 --plot curves.png
  prefd metrics 3 --json | jq '.train[-1]'"""
)
@click.argument("job_id", metavar="ID", type=JOB)
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the last N rows of each table.")
@click.option("--plot", "png", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Draw a PNG.")
@json_option
@click.pass_obj
def metrics(home: Home, job_id: int, last: int | None, png: Path | None, as_json: bool) -> None:
    """Show a job's metrics, or draw them.

    A row for each report of training, and one for each evaluation on the held-out pairs.
    """
    with read_jobs(home) as jobs:
        job, spec = jobs.get(job_id), jobs.find_spec(job_id)
    run = RunDir(home.job(job_id))
    holds_out = spec is None or spec.data.validation != 0
    metrics_rows = read_metrics_rows(run) if last is None or png is not None else read_last_rows(run, last, holds_out)
    train, evals = metrics_rows
    lost = find_lost_folder(job, run)
    if png is not None:
        if not (train or evals):
            reason = explain_missing(job, lost, "metrics to draw")
            raise Failure(f"job {job_id} ({job.name}) {reason}", Exit.NOT_FOUND)
        draw_curves(png, train, evals, title=job.name if spec is None else f"{job.name} · {describe_loss(spec)}")
    if as_json:
        counts = slice(-last if last else None, None)
        render.emit_json({"job": job_id, "name": job.name, "train": train[counts], "eval": evals[counts]})
        return
    if png is not None:
        render.print_note(f"drew {png}")
        return
    if not (train or evals):
        render.print_note(f"job {job_id} ({job.name}) {explain_missing(job, lost, 'metrics')}")
        return
    show_tables(train, evals, last)


def draw_curves(png: Path, train: list[Row], evals: list[Row], title: str) -> None:
    """Draws the curves to the PNG at `png`."""
    from prefd.daemon.terminal.curves import plot_job  # matplotlib takes most of a second

    plot_job(train, evals, title, png)


def show_tables(train: list[Row], evals: list[Row], last: int | None) -> None:
    """Prints the rows of training, of the evaluations, and the parts of a mixed loss."""
    console = render.open_stdout()
    newest = train[-last:] if last else train
    if newest:
        console.print(make_table(newest, choose_columns(newest), prefix=""))
    if evals:
        console.print("\nheld-out pairs" if newest else "held-out pairs", style="bold")
        console.print(make_table(evals[-last:] if last else evals, EVAL_COLUMNS, prefix=EVAL))
    parts = list_parts(train)
    if parts:
        console.print("\nparts of the loss", style="bold")
        console.print(make_table(newest, ("step", "loss", *parts), prefix=""))
    if parts and evals:
        console.print("\nparts of the loss, held-out pairs", style="bold")
        console.print(make_table(evals[-last:] if last else evals, ("step", "loss", *parts), prefix=EVAL))
    extras = sorted({key for row in train for key in row} - METRICS.keys() - set(parts))
    if extras:
        render.print_note(f"also recorded (see --json): {', '.join(extras)}")


def choose_columns(rows: list[Row]) -> tuple[str, ...]:
    """Chooses the columns of training's rows: those that some jobs alone have are left out of all others'."""
    return tuple(name for name in COLUMNS if not METRICS[name].optional or any(name in row for row in rows))


def list_parts(rows: list[Row]) -> list[str]:
    """Lists the metrics of the losses that a mixture adds up."""
    return list(dict.fromkeys(key for row in rows for key in row if key.startswith(PART)))


def make_table(rows: list[Row], columns: tuple[str, ...], prefix: str) -> PlainTable:
    """Makes a table of `columns`, whose names in the rows begin with `prefix` or not."""
    cells = [[format_number(row.get(prefix + key, row.get(key))) for key in columns] for row in rows]
    headings = [COLUMNS.get(key, f"\n{key}") for key in columns]
    return render.make_table(headings, cells, right=headings, gap=1)
