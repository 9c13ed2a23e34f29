"""Draws `prefd xray --plot`: what was found in a job's pairs, as one PNG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from prefd.daemon.terminal.curves import BLUE, GREY, INK, ORANGE, new_figure

if TYPE_CHECKING:
    from prefd.daemon.runs.pair_answers import MarginHistogram
    from prefd.daemon.worker_tasks.xrays import XRay


def plot_xray(xray: XRay, title: str, path: Path) -> None:
    """Draws the margins, the lengths, the findings and the tokens to the PNG at `path`. Raises OSError where it cannot be written."""
    figure = new_figure(title, (11, 7.2))
    margins, lengths, findings, tokens = figure.subplots(2, 2).flat
    if xray.reference_view is None:
        _style(margins, "The reference's margins", "")
        margins.text(0.5, 0.5, "not scored yet", transform=margins.transAxes, ha="center", va="center", color=GREY)
    else:
        _style(margins, f"The reference's margins: right in {xray.reference_view.accuracy:.0%}", "nats")
        _draw_histogram(margins, xray.reference_view.histogram)
    _style(lengths, f"Chosen longer than rejected: the longer wins {xray.lengths.accuracy:.0%}", "tokens")
    _draw_histogram(lengths, xray.lengths.histogram)
    _style(findings, "Pairs to look at", "pairs")
    kinds = [finding.kind for finding in reversed(xray.findings)]
    bars = findings.barh(kinds, [finding.total for finding in reversed(xray.findings)], color=ORANGE)
    findings.bar_label(bars, fontsize=8.5, color=GREY, padding=3)
    _style(tokens, "Tokens by source", "tokens")
    names = [source.source[-30:] for source in xray.sources]
    left = [0] * len(names)
    for part, color in (("prompt", GREY), ("chosen", BLUE), ("rejected", ORANGE)):
        counts = [getattr(source, part) for source in xray.sources]
        tokens.barh(names, counts, left=left, color=color, label=part)
        left = [before + count for before, count in zip(left, counts)]
    tokens.legend(fontsize=8.5, framealpha=0.85, edgecolor="none", labelcolor=GREY)
    figure.savefig(path, format="png")


def _draw_histogram(axis: Axes, histogram: MarginHistogram) -> None:
    """Draws the bins, those below 0 in another colour."""
    starts = [histogram.start + histogram.width * index for index in range(len(histogram.train))]
    colors = [ORANGE if start + histogram.width / 2 < 0 else BLUE for start in starts]
    axis.bar(starts, histogram.train, width=histogram.width, align="edge", color=colors)
    axis.set_ylabel("pairs", fontsize=9, color=GREY)


def _style(axis: Axes, title: str, unit: str) -> None:
    axis.set_title(title, fontsize=11, loc="left", color=INK)
    axis.set_xlabel(unit, fontsize=9, color=GREY)
    axis.tick_params(labelsize=8.5, colors=GREY, length=3)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
