"""`prefd metrics --plot`: a job's curves as one PNG. Agg is driven directly, so no display and no pyplot state."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from prefd.plugins.metrics import EVAL, METRICS, Metric

Row = dict[str, Any]

BLUE, ORANGE, GREY, INK = "#2f6db3", "#d9822b", "#5c6670", "#22272b"
SMOOTH_FROM = 60  # with more points than this, the raw values go pale and a running mean is drawn over them


@dataclass(frozen=True)
class Curve:
    """One metric, and what the legend calls it."""

    key: str
    label: str
    color: str
    eval_label: str
    eval_color: str


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    curves: tuple[Curve, ...]
    level: float | None = None
    """A dotted line where nothing has been learnt yet."""
    limits: tuple[float, float] | None = None


def panel_of(metric: Metric, *curves: Curve) -> Panel:
    """The panel that shows `metric`, with its title, unit, level and limits."""
    return Panel(metric.title, metric.unit, curves, metric.level, metric.limits)


LEARNT = [METRICS[name] for name in ("loss", "rewards/accuracies", "rewards/margins")]
PANELS = (
    *(panel_of(each, Curve(each.name, "train", BLUE, "held out", ORANGE)) for each in LEARNT),
    Panel(
        "Log-probability of the answers",
        METRICS["logps/chosen"].unit,
        (
            Curve("logps/chosen", "chosen", BLUE, "chosen, held out", BLUE),
            Curve("logps/rejected", "rejected", ORANGE, "rejected, held out", ORANGE),
        ),
    ),
)


def plot(train: Sequence[Row], evals: Sequence[Row], title: str, path: Path) -> None:
    """Draw training and eval rows of metrics.jsonl (see `metrics.py`) to the PNG at `path`.

    Raises OSError where `path` cannot be written.
    """
    figure = new_figure(title, (11, 7.2))
    axes = figure.subplots(2, 2)
    for axis, panel in zip(axes.flat, PANELS):
        _draw(axis, panel, train, evals)
    figure.savefig(path, format="png")


def _draw(axis: Axes, panel: Panel, train: Sequence[Row], evals: Sequence[Row]) -> None:
    dress(axis, panel)
    drawn = [_draw_curve(axis, curve, train, evals) for curve in panel.curves]
    widen_one_step(axis, {row["step"] for row in (*train, *evals) if "step" in row})
    if any(drawn):
        axis.legend(fontsize=8.5, framealpha=0.85, edgecolor="none", labelcolor=GREY)
    else:
        say_nothing_recorded(axis)


def new_figure(title: str, size: tuple[float, float]) -> Figure:
    """An empty figure of `size` inches under `title`."""
    figure = Figure(figsize=size, dpi=130, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[union-attr, call-arg]  # it is constrained
    figure.suptitle(title, fontsize=14, fontweight="bold", color=INK)
    return figure


def dress(axis: Axes, panel: Panel) -> None:
    """Title, labels, grid and level of a panel whose x axis is the step."""
    axis.set_title(panel.title, fontsize=11, loc="left", color=INK)
    axis.set_xlabel("step", fontsize=9, color=GREY)
    axis.set_ylabel(panel.unit, fontsize=9, color=GREY)
    axis.tick_params(labelsize=8.5, colors=GREY, length=3)
    axis.grid(True, color="#e6e9ec", linewidth=0.8)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color("#c9ced3")
    axis.ticklabel_format(axis="y", useOffset=False)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if panel.level is not None:
        axis.axhline(panel.level, color="#9aa3ab", linewidth=1, linestyle=":")
    if panel.limits is not None:
        axis.set_ylim(*panel.limits)


def widen_one_step(axis: Axes, steps: set[int]) -> None:
    """Room around a single point: no ticks at 0.945."""
    if len(steps) == 1:
        axis.set_xlim(0, 2 * max(1, *steps))


def say_nothing_recorded(axis: Axes) -> None:
    axis.text(0.5, 0.5, "not recorded", transform=axis.transAxes, ha="center", va="center", color=GREY)


def _draw_curve(axis: Axes, curve: Curve, train: Sequence[Row], evals: Sequence[Row]) -> bool:
    steps, values = points(train, curve.key)
    if len(values) > SMOOTH_FROM:
        axis.plot(steps, values, color=curve.color, alpha=0.28, linewidth=0.9)
        axis.plot(steps, list(running_mean(values, len(values) // 30)), color=curve.color, lw=1.9, label=curve.label)
    elif values:
        marker = "o" if len(values) == 1 else None
        axis.plot(steps, values, color=curve.color, linewidth=1.7, marker=marker, label=curve.label)
    eval_steps, eval_values = points(evals, EVAL + curve.key)
    if eval_values:
        axis.plot(
            eval_steps,
            eval_values,
            color=curve.eval_color,
            linewidth=1.3,
            linestyle="--",
            marker="o",
            markersize=4.5,
            markerfacecolor="white",
            label=curve.eval_label,
        )
    return bool(values or eval_values)


def points(rows: Sequence[Row], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of `key` where a row has it as a finite number."""
    found = [(row["step"], row[key]) for row in rows if isinstance(row.get(key), int | float) and "step" in row]
    found = [(step, value) for step, value in found if math.isfinite(value)]
    return [step for step, _ in found], [value for _, value in found]


def running_mean(values: Sequence[float], reach: int) -> Iterator[float]:
    """The mean of up to `reach` values on each side of each value."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    for at in range(len(values)):
        start, end = max(0, at - reach), min(len(values), at + reach + 1)
        yield (sums[end] - sums[start]) / (end - start)
