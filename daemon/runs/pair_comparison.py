"""Compares two jobs pair by pair, where the pairs of both are scored: which of them only one job gets right.

Pairs are the same where their tokens are. Margins of two losses are in two units, so they are shown and not subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.runs.pair_files import PairFiles
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.text.document_model import DocumentModel

Row = Mapping[str, Any]


class DifferingPair(DocumentModel):
    """DifferingPair is a pair that one of two jobs gets right and the other does not."""

    place: str
    row: int
    held_out: bool
    """Whether both hold it out."""
    margins: tuple[float | None, float | None]
    """Under either job, in their order; None where it is not finite."""
    prompt: str


class PairComparison(DocumentModel):
    """PairComparison says on which pairs two jobs differ."""

    jobs: tuple[int, int]
    common: int
    """Pairs that both have scored."""
    both_right: int
    both_wrong: int
    right_only_in: Mapping[str, Sequence[DifferingPair]]
    """Job → the pairs that only it gets right; held-out ones first, then by the other's margin."""


def compare_pairs(home: Home, jobs: Sequence[int]) -> PairComparison | None:
    """Compare two jobs of `home`; None where they are not two, or the pairs of one are not scored."""
    if len(jobs) != 2 or any(PairFiles(RunDir(home.job(job))).read_head() is None for job in jobs):
        return None
    from prefd.daemon.runs.pair_table import read_margins  # pyarrow takes a while to import

    tables = [read_margins(PairFiles(RunDir(home.job(job)))) for job in jobs]
    if tables[0] is None or tables[1] is None:
        return None
    return compare_rows((jobs[0], jobs[1]), tables[0][1], tables[1][1])


def compare_rows(jobs: tuple[int, int], first: Sequence[Row], second: Sequence[Row]) -> PairComparison:
    """Compare the rows of two tables of pairs."""
    others = {row["pair"]: row for row in second}
    both = {row["pair"]: (row, others[row["pair"]]) for row in first if row["pair"] in others}.values()
    outcomes = [(one["margin"] > 0, other["margin"] > 0, _make_pair(one, other)) for one, other in both]

    def select(*rights: bool) -> list[DifferingPair]:
        return [pair for *actual, pair in outcomes if actual == list(rights)]

    return PairComparison(
        jobs=jobs,
        common=len(outcomes),
        both_right=len(select(True, True)),
        both_wrong=len(select(False, False)),
        right_only_in={
            str(jobs[0]): sorted(select(True, False), key=lambda pair: _rank(pair, pair.margins[1])),
            str(jobs[1]): sorted(select(False, True), key=lambda pair: _rank(pair, pair.margins[0])),
        },
    )


def _rank(pair: DifferingPair, margin: float | None) -> tuple[bool, float]:
    """Give the key that sorts held-out pairs first, then those with the smallest `margin`."""
    return not pair.held_out, -math.inf if margin is None else margin


def _drop_nonfinite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _make_pair(one: Row, other: Row) -> DifferingPair:
    return DifferingPair(
        place=one["place"],
        row=one["row"],
        held_out=one["held_out"] and other["held_out"],
        margins=(_drop_nonfinite(one["margin"]), _drop_nonfinite(other["margin"])),
        prompt=one["prompt"],
    )
