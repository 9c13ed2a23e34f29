"""The pairs of a source, and every row that cannot be used, by reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefd.daemon.spec import DataSpec
from prefd.daemon.worker.dataset import SHOWN_ROWS, listed
from prefd.daemon.worker.reading import read_dataset
from prefd.daemon.worker.rows import DataError, read_rows
from prefd.plugins.types import Pair, RowFormat


class Unusable:
    """Numbers (1-based) of the rows that cannot be used, by reason."""

    def __init__(self) -> None:
        self.rows: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def add(self, reason: str, row: int) -> None:
        self.rows.setdefault(reason, []).append(row)

    def to_json(self) -> dict[str, Any]:
        """{reason: {count, rows: the first few}}, the most frequent reason first."""
        return {reason: {"count": len(rows), "rows": rows[:SHOWN_ROWS]} for reason, rows in self._sorted()}

    def __str__(self) -> str:
        return "; ".join(f"{len(rows)} × {reason} ({listed(rows)})" for reason, rows in self._sorted())

    def _sorted(self) -> list[tuple[str, list[int]]]:
        ordered = sorted(self.rows.items(), key=lambda item: -len(item[1]))
        return [(reason, sorted(rows)) for reason, rows in ordered]


@dataclass
class LoadedPairs:
    """The usable pairs of one source."""

    source: str
    rows: int
    """How many rows the source has, usable or not."""
    format: str
    """Name of the row format that was found."""
    pairs: list[tuple[int, Pair]]
    """With the 1-based number of each pair's row, in the order of the files."""
    unusable: Unusable = field(default_factory=Unusable)
    columns: list[str] = field(default_factory=list)
    """Columns that any pair is made of."""
    unread: list[str] = field(default_factory=list)
    """Columns that no pair is made of."""
    notes: list[str] = field(default_factory=list)
    """What the user should know of how it was read."""


def load_pairs(
    spec: DataSpec, formats: Mapping[str, RowFormat], commits: Mapping[str, str] | None = None
) -> LoadedPairs:
    """The pairs of `spec.path`. Raises `DataError` where there is not one."""
    return pairs_of(spec.path, spec, formats, [spec.split], commits=commits)


def pairs_of(
    source: str,
    spec: DataSpec,
    formats: Mapping[str, RowFormat],
    splits: Sequence[str],
    key: str = "data.path",
    commits: Mapping[str, str] | None = None,
) -> LoadedPairs:
    """The pairs of `source`, read with the spec's columns. `key` is the field of the spec that names the source."""
    revision = (commits or {}).get(source) or (spec.revision if source == spec.path else None)
    try:
        rows = list(read_rows(source, splits, revision))
    except DataError as error:
        raise DataError(f"{key}: {error}") from error
    made = read_dataset(rows, spec, formats, source, key)
    found = LoadedPairs(
        source, len(rows), made.format, made.pairs, columns=made.columns, unread=made.unread, notes=made.notes
    )
    for number, reason in made.unusable:
        found.unusable.add(str(reason), number)
    if not found.pairs:
        raise none_usable(found, key)
    return found


def none_usable(found: LoadedPairs, key: str) -> DataError:
    return DataError(f"{key}: {found.source}: none of its {found.rows} rows can be used: {found.unusable}")
