"""Compares two jobs pair by pair, where the pairs of both are scored: which of them only one job gets right. Pure but for reading them.

Pairs are the same where their tokens are. Margins of two losses are in two units, so they are shown and not subtracted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.runs.pair_files import PairFiles
from prefd.daemon.runs.run_folder import RunDir

Row = Mapping[str, Any]


@dataclass(frozen=True)
class DifferingPair:
    """DifferingPair is a pair that one of two jobs gets right and the other does not."""

    place: str
    row: int
    held_out: bool
    """Whether both hold it out."""
    margins: tuple[float, float]
    """Under either job, in their order."""
    prompt: str


@dataclass(frozen=True)
class PairComparison:
    """PairComparison says on which pairs two jobs differ."""

    jobs: tuple[int, int]
    common: int
    """Pairs that both have scored."""
    both_right: int
    both_wrong: int
    only_first: Sequence[DifferingPair]
    """Those that only the first job gets right; held-out ones first, then by the other's margin."""
    only_second: Sequence[DifferingPair]

    def to_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        counts = {
            "jobs": list(self.jobs),
            "common": self.common,
            "both_right": self.both_right,
            "both_wrong": self.both_wrong,
        }
        return counts | {
            "right_only_in": {
                str(job): [asdict(pair) for pair in pairs]
                for job, pairs in zip(self.jobs, (self.only_first, self.only_second))
            }
        }


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
        jobs,
        len(outcomes),
        len(select(True, True)),
        len(select(False, False)),
        sorted(select(True, False), key=lambda pair: (not pair.held_out, pair.margins[1])),
        sorted(select(False, True), key=lambda pair: (not pair.held_out, pair.margins[0])),
    )


def _make_pair(one: Row, other: Row) -> DifferingPair:
    held_out = one["held_out"] and other["held_out"]
    return DifferingPair(one["place"], one["row"], held_out, (one["margin"], other["margin"]), one["prompt"])
