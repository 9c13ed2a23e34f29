"""`prefd compare`: jobs side by side, as a table or a figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from prefd.daemon.commands.shared.completions import JOB
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option, read_jobs, read_spec
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.terminal import render
from prefd.daemon.terminal.comparison import MEASURES, Compared, best, differing, gather, notes, shorten
from prefd.daemon.text.wording import clip, format_number
from prefd.plugins.metrics import EVAL

LABELLED = 3
"""How many settings fit into a legend."""
WIDEST = 28
"""Characters of a cell; --json has all of it."""
CURVES = ("rewards/accuracies", "rewards/margins")


@click.command(
    epilog="""\b
Examples:
  prefd compare 3 4 5
  prefd compare 3 4 --plot curves.png
  prefd compare 3 4 --plot curves.png --metric loss --metric rewards/margins
  prefd compare 3 4 --json | jq '.best["eval_rewards/accuracies"]'"""
)
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True, type=JOB)
@click.option("--plot", "png", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Draw a PNG.")
@click.option("--metric", "metrics", metavar="NAME", multiple=True, help="A metric to draw (repeatable).")
@json_option
@click.pass_obj
def compare(home: Home, job_ids: tuple[int, ...], png: Path | None, metrics: tuple[str, ...], as_json: bool) -> None:
    """Set jobs side by side.

    The settings by which they differ, the evaluation of their adapter on the held-out pairs (the last one, or the best
    with load_best_model_at_end), time and memory; an asterisk marks the best value of a row that can be compared. --plot draws accuracy and margin over steps, or what --metric names.
    """
    if metrics and png is None:
        raise click.UsageError("--metric says what --plot draws: give --plot FILE too")
    jobs = [gather(*each) for each in read(home, job_ids)]
    if png is not None:
        draw(png, jobs, metrics)
    if as_json:
        render.emit_json(document(jobs))
        return
    if png is not None:
        render.note(f"drew {png}")
        return
    show(jobs)
    for line in notes(jobs):
        render.note(line)


def read(home: Home, job_ids: Sequence[int]) -> list[tuple[Any, Any, RunDir]]:
    """Each job once, with its spec and folder. Raises JobNotFound."""
    with read_jobs(home) as table:
        return [(table.get(each), read_spec(table, each), RunDir(home.job(each))) for each in dict.fromkeys(job_ids)]


def show(jobs: Sequence[Compared]) -> None:
    """The table, in as many parts, one under the other, as the terminal's width asks for."""
    console = render.stdout()
    heading: list[str | Text] = ["", *(str(job.id) for job in jobs)]
    rows = lines(jobs)
    widths = [max(len(row[column]) for row in (heading, *rows)) for column in range(len(heading))]
    for number, (start, end) in enumerate(parts(widths, console.width)):
        shown = [[row[0], *row[start:end]] for row in (heading, *rows)]
        columns = [str(each) for each in shown[0]]
        console.print("\n" * bool(number), end="")
        console.print(render.table(columns, shown[1:], right=columns[1:]))


def parts(widths: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """Which columns (from, to) stand together beside the first so that each part fits `room`, gaps of 2 included."""
    start = 1
    while start < len(widths):
        end, used = start + 1, widths[0] + 2 + widths[start] + 2
        while end < len(widths) and used + widths[end] + 2 <= room:
            used += widths[end] + 2
            end += 1
        yield start, end
        start = end


def lines(jobs: Sequence[Compared]) -> list[list[str | Text]]:
    """The table's rows, the name of each first."""
    told: list[list[str | Text]] = [
        ["name", *(clip(job.name, WIDEST) for job in jobs)],
        ["state", *(render.state(job.state) for job in jobs)],
        ["loss", *(job.loss for job in jobs)],
    ]
    for name in differing(jobs):
        told.append([name, *(clip(cell, WIDEST) for cell in shorten([(job.settings or {}).get(name) for job in jobs]))])
    winners = best(jobs)
    for measure in MEASURES:
        marked = winners.get(measure.key, [])
        cells = [mark(format_number(job.numbers[measure.key]), job.id in marked) for job in jobs]
        told.append([measure.label or measure.key, *cells])
    return told


def mark(cell: str, is_best: bool) -> Text:
    return Text(f"*{cell}", style="bold green") if is_best else Text(cell)


def document(jobs: Sequence[Compared]) -> Mapping[str, Any]:
    names = differing(jobs)
    return {
        "jobs": [
            {
                "job": job.id,
                "name": job.name,
                "state": job.state,
                "loss": None if job.settings is None else job.loss,
                "settings": {name: (job.settings or {}).get(name) for name in names},
                "evaluated_at_step": job.evaluated_at,
                **job.numbers,
            }
            for job in jobs
        ],
        "differing": names,
        "best": best(jobs),
        "notes": notes(jobs),
    }


def draw(png: Path, jobs: Sequence[Compared], metrics: Sequence[str]) -> None:
    wanted = list(dict.fromkeys(metrics or CURVES))
    recorded = {key.removeprefix(EVAL) for job in jobs for row in job.rows for key in row} - {"step", "epoch"}
    if not recorded:
        raise Failure("none of these jobs has metrics to draw yet", Exit.NOT_FOUND)
    for name in wanted if metrics else ():
        if name.removeprefix(EVAL) not in recorded:
            raise Failure(f"no metric is called {name}; recorded: {', '.join(sorted(recorded))}", Exit.NOT_FOUND)
    from prefd.daemon.terminal.comparison_curves import Line, plot_jobs  # matplotlib takes most of a second

    plot_jobs([Line(label, job.rows) for label, job in zip(labels(jobs), jobs)], wanted, png)


def labels(jobs: Sequence[Compared]) -> list[str]:
    """What a legend calls each job: its id, name and loss, and the first few settings that only it may have."""
    names = differing(jobs)[:LABELLED]
    columns = [shorten([(job.settings or {}).get(name) for job in jobs]) for name in names]
    told = [
        [f"{name.rpartition('.')[2]} {value}" for name, value in zip(names, row) if value != "-"]
        for row in (zip(*columns) if columns else ([] for _ in jobs))
    ]
    return [" · ".join([f"{job.id}  {job.name}", job.loss, *settings]) for job, settings in zip(jobs, told)]
