"""`prefd compare` shows jobs side by side, as a table or a figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands.shared.completions import JOB
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option, read_jobs
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.comparison import (
    MEASURES,
    ComparedJob,
    describe_comparison,
    find_best,
    find_differences,
    gather_job,
    shorten_values,
    write_notes,
)
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.terminal import render
from prefd.daemon.text.wording import clip, format_number, pluralize
from prefd.plugins.metrics import EVAL, POSITIONS

if TYPE_CHECKING:
    from rich.text import Text

    from prefd.daemon.runs.pair_comparison import PairComparison

PLACE = HelpPlace(Section.JOBS, 120)
MOST_LABELS = 3
"""How many settings fit into a legend."""
WIDEST = 28
"""Characters of a cell; --json has all of it."""
MOST_PAIRS = 10
"""Pairs that are listed of each job; --json has all of them."""
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
    with load_best_model_at_end), time and memory; an asterisk marks the best value of a row that can be compared. Of two jobs whose
    pairs are scored (`prefd pairs`), also the pairs that only one gets right. --plot draws accuracy and margin over steps, or what --metric names.
    """
    if metrics and png is None:
        raise click.UsageError("--metric says what --plot draws: give --plot FILE too")
    jobs = gather_jobs(home, job_ids, with_rows=png is not None)
    if png is not None:
        draw_curves(png, jobs, metrics)
    from prefd.daemon.runs.pair_comparison import compare_pairs  # here: it brings pydantic

    pairs = compare_pairs(home, [job.id for job in jobs])
    if as_json:
        render.emit_json(describe_comparison(jobs) | ({} if pairs is None else {"pairs": pairs.to_json()}))
        return
    if png is not None:
        render.print_note(f"drew {png}")
        return
    show_table(jobs)
    if pairs is not None:
        show_pairs(pairs)
    for line in write_notes(jobs):
        render.print_note(line)


def gather_jobs(home: Home, job_ids: Sequence[int], with_rows: bool) -> list[ComparedJob]:
    """Gathers each job once; `with_rows`, with its metrics for curves. Raises JobNotFound."""
    with read_jobs(home) as table:
        jobs = [(table.get(each), table.find_spec(each)) for each in dict.fromkeys(job_ids)]
    runs = [RunDir(home.job(job.id)) for job, _ in jobs]
    return [
        gather_job(job, spec, run, rows=list(run.read_metrics()) if with_rows else [])
        for (job, spec), run in zip(jobs, runs, strict=True)
    ]


def show_table(jobs: Sequence[ComparedJob]) -> None:
    """Prints the table in as many parts, one under the other, as the terminal's width asks for."""
    console = render.open_stdout()
    heading: list[str | Text] = ["", *(str(job.id) for job in jobs)]
    rows = build_rows(jobs)
    widths = [max(len(row[column]) for row in (heading, *rows)) for column in range(len(heading))]
    for number, (start, end) in enumerate(split_columns(widths, console.width)):
        cells = [[row[0], *row[start:end]] for row in (heading, *rows)]
        columns = [str(each) for each in cells[0]]
        console.print("\n" * bool(number), end="")
        console.print(render.make_table(columns, cells[1:], right=columns[1:]))


def split_columns(widths: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """Yields which columns (from, to) stand together beside the first so that each part fits `room`, gaps of 2 included."""
    start = 1
    while start < len(widths):
        end, used = start + 1, widths[0] + 2 + widths[start] + 2
        while end < len(widths) and used + widths[end] + 2 <= room:
            used += widths[end] + 2
            end += 1
        yield start, end
        start = end


def build_rows(jobs: Sequence[ComparedJob]) -> list[list[str | Text]]:
    """Builds the table's rows, the name of each first."""
    rows: list[list[str | Text]] = [
        ["name", *(clip(job.name, WIDEST) for job in jobs)],
        ["state", *(render.color_state(job.state) for job in jobs)],
        ["loss", *(job.loss for job in jobs)],
    ]
    for name in find_differences(jobs):
        rows.append(
            [name, *(clip(cell, WIDEST) for cell in shorten_values([(job.settings or {}).get(name) for job in jobs]))]
        )
    winners = find_best(jobs)
    for measure in MEASURES:
        best_ids = winners.get(measure.key, [])
        cells = [mark_best(format_number(job.numbers[measure.key]), job.id in best_ids) for job in jobs]
        rows.append([measure.label or measure.key, *cells])
    return rows


def show_pairs(pairs: PairComparison) -> None:
    """Prints on which pairs two jobs differ."""
    console = render.open_stdout()
    console.print(
        f"\n{pluralize(pairs.common, 'pair')} scored in both: {pairs.both_right:,} right in both, {pairs.both_wrong:,} wrong in both"
    )
    for job, own in pairs.right_only_in.items():
        console.print(f"{pluralize(len(own), 'pair')} right only in {job}", style="bold")
        for pair in own[:MOST_PAIRS]:
            margins = " and ".join(map(format_number, pair.margins))
            use = "held out" if pair.held_out else "trained on"
            console.print(f"  {pair.place}, {use}: margins {margins}", soft_wrap=True)
        if len(own) > MOST_PAIRS:
            console.print(f"  and {len(own) - MOST_PAIRS:,} more (--json)")


def mark_best(cell: str, is_best: bool) -> Text:
    """Marks a cell that holds the best value of its row."""
    from rich.text import Text

    return Text(f"*{cell}", style="bold green") if is_best else Text(cell)


def draw_curves(png: Path, jobs: Sequence[ComparedJob], metrics: Sequence[str]) -> None:
    """Draws the metrics, or the usual two. Raises `Failure` where the jobs have not recorded them."""
    names = list(dict.fromkeys(metrics or CURVES))
    recorded_metrics = {key.removeprefix(EVAL) for job in jobs for row in job.rows for key in row} - set(POSITIONS)
    if not recorded_metrics:
        raise Failure("none of these jobs has metrics to draw yet", Exit.NOT_FOUND)
    for name in names if metrics else ():
        if name.removeprefix(EVAL) not in recorded_metrics:
            raise Failure(
                f"no metric is called {name}; recorded: {', '.join(sorted(recorded_metrics))}", Exit.NOT_FOUND
            )
    from prefd.daemon.terminal.comparison_curves import Line, plot_jobs  # matplotlib takes most of a second

    plot_jobs([Line(label, job.rows) for label, job in zip(label_jobs(jobs), jobs)], names, png)


def label_jobs(jobs: Sequence[ComparedJob]) -> list[str]:
    """Labels each job for the legend: its id, name and loss, and the first few settings that only it may have."""
    names = find_differences(jobs)[:MOST_LABELS]
    columns = [shorten_values([(job.settings or {}).get(name) for job in jobs]) for name in names]
    settings_by_job = [
        [f"{name.rpartition('.')[2]} {value}" for name, value in zip(names, row) if value != "-"]
        for row in (zip(*columns) if columns else ([] for _ in jobs))
    ]
    return [" · ".join([f"{job.id}  {job.name}", job.loss, *settings]) for job, settings in zip(jobs, settings_by_job)]
