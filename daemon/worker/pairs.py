"""Rows → pairs: the columns a spec names, the one format of a dataset, and every row that cannot be used, by reason."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from prefd.daemon.datasources import Source
from prefd.daemon.spec import DataSpec
from prefd.daemon.text import listed_places
from prefd.daemon.worker.rows import DataError, Place, Row, read_rows
from prefd.plugins.formats.fields import is_text
from prefd.plugins.formats.messages import decode_row
from prefd.plugins.types import Pair, RowFormat, UnusableRow

SHOWN_ROWS = 5
"""How many rows of each reason are shown."""
NEARLY_ALL = 0.9


class Unusable:
    """The rows that cannot be used, by reason: their numbers (1-based), and where they stand."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = places
        """Of every row of the source, the usable ones too."""
        self.rows: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def add(self, reason: str, row: int) -> None:
        self.rows.setdefault(reason, []).append(row)

    def to_json(self) -> dict[str, Any]:
        """{reason: {count, rows and places: the first few}}, the most frequent reason first."""
        return {
            reason: {"count": len(rows), "rows": rows[:SHOWN_ROWS], "places": self._places(rows)}
            for reason, rows in self._sorted()
        }

    def __str__(self) -> str:
        return "; ".join(self.lines())

    def lines(self) -> list[str]:
        """Each reason, with how many rows it has and which."""
        return [
            f"{len(rows)} × {reason} ({listed_places(self._places(rows), len(rows))})"
            for reason, rows in self._sorted()
        ]

    def _places(self, rows: Sequence[int]) -> list[str]:
        return [str(self.places[row - 1]) for row in rows[:SHOWN_ROWS]]

    def _sorted(self) -> list[tuple[str, list[int]]]:
        ordered = sorted(self.rows.items(), key=lambda item: -len(item[1]))
        return [(reason, sorted(rows)) for reason, rows in ordered]


@dataclass
class LoadedPairs:
    """The usable pairs of one source, or of several that are trained on together."""

    source: str
    places: list[Place]
    """Where each row stands, usable or not: row 1 first."""
    notes: list[str]
    """What the user should know of how it was read."""
    format: str
    """Name of the row format that was found."""
    pairs: list[tuple[int, Pair]] = field(default_factory=list)
    """With the 1-based number of each pair's row, in the order of the files."""

    left_out: int = 0
    """Pairs that a weight leaves out."""

    def __post_init__(self) -> None:
        self.unusable = Unusable(self.places)

    @property
    def rows(self) -> int:
        """How many rows the source has, usable or not."""
        return len(self.places)


def pairs_of(
    source: Source,
    spec: DataSpec,
    formats: Mapping[str, RowFormat],
    commits: Mapping[str, str] | None = None,
    called: str = "",
) -> LoadedPairs:
    """The pairs of one source, read with the spec's columns. `called`: what its rows are named by, among several.

    Raises `DataError` where there is not one.
    """
    key = source.key
    commit = (commits or {}).get(source.path) or source.revision
    try:
        read = read_rows(replace(source, revision=commit), called)
    except DataError as error:
        raise DataError(f"{key}: {error}") from error
    decoded: list[Row] = [row if isinstance(row, UnusableRow) else decode_row(row) for row in read.rows]
    rows = _with_columns(decoded, spec, source.path)
    name, matching = detect_format(rows, formats)
    if not any(matching):
        _check_columns(rows, source.path, key)
    found = LoadedPairs(source.path, read.places, read.notes, name)
    for number, (row, matches) in enumerate(zip(rows, matching), 1):
        try:
            found.pairs.append((number, _pair(row, matches, name, formats[name])))
        except UnusableRow as reason:
            found.unusable.add(str(reason), number)
    if not found.pairs:
        raise none_usable(found, key)
    return found


def detect_format(rows: Sequence[Row], formats: Mapping[str, RowFormat]) -> tuple[str, list[bool]]:
    """The format of all `rows` together, and which of them have it.

    Formats are registered from general to special: the last that matches nearly as many rows as any other is taken, so
    that a few odd rows among transcripts do not turn every transcript into plain text.
    """
    matching = {
        name: [not isinstance(row, UnusableRow) and row_format.matches(row) for row in rows]
        for name, row_format in formats.items()
    }
    enough = NEARLY_ALL * max(map(sum, matching.values()), default=0)
    best = next(name for name in reversed(matching) if sum(matching[name]) >= enough)
    return best, matching[best]


def none_usable(found: LoadedPairs, key: str) -> DataError:
    return DataError(f"{key}: {found.source}: none of its {found.rows} rows can be used: {found.unusable}")


def _pair(row: Row, matches: bool, name: str, row_format: RowFormat) -> Pair:
    if isinstance(row, UnusableRow):
        raise row
    try:
        pair = row_format.pair(row)
    except UnusableRow:
        raise  # it knows best, also about a row of another shape
    except Exception as error:
        if matches:  # a plugin's fault, or a row it did not think of; the other rows may still be fine
            raise UnusableRow(f"format {name!r} failed: {type(error).__name__}: {error}") from error
        raise UnusableRow(f"not in the dataset's format ({name})") from error
    if not matches:
        raise UnusableRow(f"not in the dataset's format ({name})")
    if not isinstance(pair, Pair) or not all(is_text(text) for text in (pair.prompt, pair.chosen, pair.rejected)):
        raise UnusableRow(f"format {name!r} failed: it gave no pair of texts or chat messages")
    return pair


def _with_columns(rows: Sequence[Row], spec: DataSpec, source: str) -> list[Row]:
    """`rows` with the columns that the spec names under the names that formats look for."""
    named = {
        "prompt": spec.prompt_feature,
        "chosen": spec.chosen_feature,
        "rejected": spec.rejected_feature,
    }
    named = {name: column for name, column in named.items() if column != "auto"}
    columns = _columns(rows)
    for name, column in named.items():
        if column not in columns:
            near = difflib.get_close_matches(column, columns, n=3)
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            listed = ", ".join(columns) or "none"
            raise DataError(f"data.{name}_feature: {source} has no column {column!r}; its columns: {listed}.{hint}")
    if not named:
        return list(rows)
    return [row if isinstance(row, UnusableRow) else _renamed(row, named) for row in rows]


def _renamed(row: Mapping[str, Any], named: Mapping[str, str]) -> dict[str, Any]:
    taken = set(named.values())
    kept = {column: value for column, value in row.items() if column not in taken}
    return kept | {name: row.get(column) for name, column in named.items()}


def _columns(rows: Sequence[Row]) -> list[str]:
    """Every column that any row has, in order of appearance."""
    return list(dict.fromkeys(column for row in rows if not isinstance(row, UnusableRow) for column in row))


def _check_columns(rows: Sequence[Row], source: str, key: str) -> None:
    """Raises `DataError` for a dataset none of whose rows have the columns of a pair."""
    columns = _columns(rows)
    missing = [name for name in ("chosen", "rejected") if name not in columns]
    if not missing or all(isinstance(row, UnusableRow) for row in rows):
        return
    if not columns:
        raise DataError(f"{key}: {source} has no columns: each row needs chosen and rejected (and prompt, or not)")
    near = [column for name in missing for column in difflib.get_close_matches(name, columns, n=2)]
    hint = f" Did you mean {' or '.join(map(repr, dict.fromkeys(near)))}?" if near else ""
    fields = " and ".join(f"data.{name}_feature" for name in missing)
    raise DataError(
        f"{key}: {source} has no column {' or '.join(map(repr, missing))}; its columns: {', '.join(columns)}.{hint} "
        f"Name the columns with {fields}"
    )
