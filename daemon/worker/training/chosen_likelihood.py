"""Warns where the chosen answer becomes less likely while the margin grows: the policy forgets both answers.

A preference loss sees only the difference of the two sides, and may widen it by pushing both down, the rejected one
faster (Pal et al. 2024, arXiv 2402.13228). Held-out pairs are compared with themselves. The
reports of training are of different pairs each, so there the difference must also stand out of their scatter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, variance

from prefd.plugins.metrics import EVAL

CHOSEN, MARGINS, REWARD = "logps/chosen", "rewards/margins", "rewards/chosen"
FALL_NATS = 1.0
"""Nats that the chosen answers must lose at least before a warning."""
FALL_SHARE = 0.02
"""The same as a share of the chosen answers' log-probability: a long answer may lose a nat for no reason."""
STANDARD_ERRORS = 2.0
FEWEST_REPORTS = 8

Line = Mapping[str, float]


def describe_falling_chosen(lines: Sequence[Line]) -> str | None:
    """Return the warning for a run with these lines of metrics.jsonl, None where there is nothing to say."""
    evaluations = [line for line in lines if _has_numbers(line, EVAL + CHOSEN, EVAL + MARGINS)]
    if len(evaluations) >= 2:
        return _describe_fall([evaluations[0]], [evaluations[-1]], EVAL)
    reports = [line for line in lines if _has_numbers(line, CHOSEN, MARGINS, REWARD)]
    quarter = len(reports) // 4
    if len(reports) < FEWEST_REPORTS:
        return None
    first, last = reports[:quarter], reports[-quarter:]
    if stands_out(last, first, REWARD) and stands_out(first, last, MARGINS):
        return _describe_fall(first, last, "")
    return None


def _has_numbers(line: Mapping[str, float | None], *names: str) -> bool:
    """Say whether a line has these metrics: single answers that share a label have no margin, and what is not finite is null."""
    return all(line.get(name) is not None for name in names)


def stands_out(lower: Sequence[Line], higher: Sequence[Line], name: str) -> bool:
    """Say whether `name` is larger in `higher` by more than the scatter explains (Welch)."""
    sides = [[line[name] for line in side] for side in (lower, higher)]
    error = math.sqrt(sum(variance(side) / len(side) for side in sides))
    return fmean(sides[1]) - fmean(sides[0]) > STANDARD_ERRORS * error


def _describe_fall(first: Sequence[Line], last: Sequence[Line], prefix: str) -> str | None:
    def means(name: str) -> tuple[float, float]:
        before, after = (fmean(line[prefix + name] for line in side) for side in (first, last))
        return before, after

    chosen, margins = means(CHOSEN), means(MARGINS)
    if chosen[0] - chosen[1] <= max(FALL_NATS, FALL_SHARE * abs(chosen[0])) or margins[1] <= margins[0]:
        return None
    return (
        f"{prefix}{CHOSEN} fell from {chosen[0]:.1f} to {chosen[1]:.1f} while {prefix}{MARGINS} rose from "
        f"{margins[0]:.3g} to {margins[1]:.3g}: the policy makes the chosen answers less likely too; what holds them up: "
        "dpop (cpo_dpop without a reference), a larger beta, or an sft term in the loss"
    )
