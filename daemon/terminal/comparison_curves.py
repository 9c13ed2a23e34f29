"""`prefd compare --plot`: a line for each job, a panel for each metric, in the look of `plot.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from prefd.daemon.terminal.curves import (
    BLUE,
    GREY,
    ORANGE,
    Panel,
    Row,
    dress,
    new_figure,
    panel_of,
    points,
    running_mean,
    say_nothing_recorded,
    widen_one_step,
)
from prefd.plugins.metrics import EVAL, METRICS

COLORS = (BLUE, ORANGE, "#3a9a6b", "#b5467f", "#7a5fc0", "#8a6d3b", "#17a2b8", "#5c6670")
Style = Literal["-", "--", ":", "-."]
STYLES: tuple[Style, ...] = ("-", "--", ":", "-.")
"""A job's colour, then, from the ninth on, its line style too."""
SMOOTH_FROM = 20  # one batch's accuracy is a few pairs': the raw lines of several jobs would hide one another
DOT: dict[str, Any] = {"marker": "o", "markersize": 4.5, "markerfacecolor": "white"}


@dataclass(frozen=True)
class Line:
    """One job: what the legend calls it, and its metrics.jsonl."""

    label: str
    rows: Sequence[Row]


def plot_jobs(jobs: Sequence[Line], metrics: Sequence[str], path: Path) -> None:
    """Draw `metrics` of `jobs` over steps to the PNG at `path`.

    Training is a line, smoothed where it has many points; the held-out pairs are hollow dots in the job's colour. Of a
    metric named `eval_…` there are only these. Raises OSError where `path` cannot be written.
    """
    columns = min(2, len(metrics))
    ranks = -(-len(metrics) // columns)
    figure = new_figure("", (5.5 * columns + 0.5, 3.7 * ranks + 0.26 * (2 + (len(jobs) + 1) // columns)))
    grid = figure.subplots(ranks, columns, squeeze=False).flat
    drawn = [_draw(axis, metric, jobs) for axis, metric in zip(grid, metrics)]
    for axis in grid[len(metrics) :]:
        axis.set_visible(False)
    _legend(figure, jobs, columns, dots=any(drawn))
    figure.savefig(path, format="png")


def _legend(figure: Figure, jobs: Sequence[Line], columns: int, dots: bool) -> None:
    keys = []
    for job, color, style in _looks(jobs):
        label = job.label if job.rows else f"{job.label} (no metrics yet)"
        keys.append(Line2D([], [], color=color, linestyle=style, linewidth=2, label=label))
    if dots:
        keys.append(Line2D([], [], linestyle="", label="held-out pairs", **DOT, markeredgecolor=GREY))
    looks: dict[str, Any] = {"ncols": columns, "fontsize": 8.5, "edgecolor": "none", "labelcolor": GREY}
    figure.legend(handles=keys, loc="outside lower center", **looks)


def _looks(jobs: Sequence[Line]) -> list[tuple[Line, str, Style]]:
    styles = [style for style in STYLES for _ in COLORS]
    return list(zip(jobs, cycle(COLORS), cycle(styles)))


def _draw(axis: Axes, metric: str, jobs: Sequence[Line]) -> bool:
    """One panel. Whether it has dots of held-out pairs."""
    name = metric.removeprefix(EVAL)
    panel = panel_of(METRICS[name]) if name in METRICS else Panel(name, "as logged", ())
    dress(axis, panel if name == metric else replace(panel, title=f"{panel.title}, held-out pairs"))
    steps: set[int] = set()
    dots = False
    for job, color, style in _looks(jobs):
        trained, values = points(job.rows, name) if name == metric else ([], [])
        held_out, evals = points(job.rows, EVAL + name)
        if len(values) >= SMOOTH_FROM:
            values = list(running_mean(values, max(1, len(values) // 20)))
        axis.plot(
            trained, values, color=color, linestyle=style, linewidth=1.8, marker="." if len(values) == 1 else None
        )
        axis.plot(held_out, evals, color=color, linestyle="-" if name != metric else "", linewidth=1.3, zorder=3, **DOT)
        steps.update(trained, held_out)
        dots = dots or bool(evals)
    widen_one_step(axis, steps)
    if not steps:
        say_nothing_recorded(axis)
    return dots
