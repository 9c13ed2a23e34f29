"""Loads the pairs of a source, and groups every row that cannot be used by the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from prefd.daemon.runs.data_summary import UnusableRows
from prefd.daemon.specs.data_sources import Source
from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.text.wording import list_places
from prefd.daemon.worker.data.certainty import MANY
from prefd.daemon.worker.data.dataset import SHOWN_ROWS, Dataset
from prefd.daemon.worker.data.nulls import read_with_nulls_settled
from prefd.daemon.worker.data.reading import read_dataset
from prefd.daemon.worker.data.rows import DataError, Place, Row, read_rows
from prefd.plugins.formats.json_cells import decode_row
from prefd.plugins.types import Pair, RowFormat, UnclearRow, UnusableRow


def list_row_places(places: Sequence[Place], rows: Sequence[int]) -> str:
    """Names the places of `rows` (1-based) in words, the first few of them, each once."""
    row_numbers = list(dict.fromkeys(rows))
    return list_places([str(places[row - 1]) for row in row_numbers[:SHOWN_ROWS]], len(row_numbers))


class Unusable:
    """Unusable holds the rows that cannot be used, by reason: their numbers (1-based), and where they stand."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = places
        """The place of every row of the source, also of the usable ones."""
        self.rows: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def add(self, reason: str, row: int) -> None:
        """Adds `row` to those of `reason`."""
        self.rows.setdefault(reason, []).append(row)

    def summarize(self) -> dict[str, UnusableRows]:
        """Gives each reason's rows for the summary, the most frequent reason first."""
        return {
            reason: UnusableRows(count=len(rows), rows=rows[:SHOWN_ROWS], places=self._places(rows))
            for reason, rows in self._sorted()
        }

    def __str__(self) -> str:
        return "; ".join(self.lines())

    def lines(self) -> list[str]:
        """Writes a line for each reason, with how many rows it has and which."""
        return [f"{len(rows)} × {reason} ({list_row_places(self.places, rows)})" for reason, rows in self._sorted()]

    def _places(self, rows: Sequence[int]) -> list[str]:
        return [str(self.places[row - 1]) for row in rows[:SHOWN_ROWS]]

    def _sorted(self) -> list[tuple[str, list[int]]]:
        ordered = sorted(self.rows.items(), key=lambda item: -len(item[1]))
        return [(reason, sorted(rows)) for reason, rows in ordered]


@dataclass
class LoadedPairs:
    """LoadedPairs holds the usable pairs of one source, or of several that are trained on together."""

    source: str
    places: list[Place]
    """Where each row stands, usable or not: row 1 first."""
    notes: list[str]
    """What the user should know of how it was read."""
    format: str
    """Name of the row format that was found."""
    pairs: list[tuple[int, Pair]] = field(default_factory=list)
    """The pairs, each with the 1-based number of its row, in the order of the files."""
    columns: list[str] = field(default_factory=list)
    """Columns that any pair is made of."""
    unread: list[str] = field(default_factory=list)
    """Columns that no pair is made of."""

    left_out: int = 0
    """Pairs that a weight leaves out."""

    def __post_init__(self) -> None:
        self.unusable = Unusable(self.places)

    @property
    def rows(self) -> int:
        """Says how many rows the source has, usable or not."""
        return len(self.places)


def load_source(
    source: Source,
    spec: DataSpec,
    formats: Mapping[str, RowFormat],
    commits: Mapping[str, str] | None = None,
    name: str = "",
    read: Callable[..., Dataset] = read_dataset,
) -> LoadedPairs:
    """Loads the pairs of one source, read with the spec's columns. `name`: what its rows are named by, among several.

    `read`: as `read_dataset`, which reads pairs.

    Raises `DataError` where there is not one.
    """
    key = source.key
    commit = (commits or {}).get(source.path) or source.revision
    try:
        rows = read_rows(replace(source, revision=commit), name)
    except DataError as error:
        raise DataError(f"{key}: {error}") from error
    decoded: list[Row] = [row if isinstance(row, UnusableRow) else decode_row(row) for row in rows.rows]
    dataset = read_with_nulls_settled(
        decoded,
        spec,
        partial(
            read,
            spec=spec,
            formats=formats,
            source=source.path,
            key=key,
            name_rows=partial(list_row_places, rows.places),
        ),
    )
    loaded = LoadedPairs(
        source.path,
        rows.places,
        [*rows.notes, *dataset.notes],
        dataset.format,
        dataset.pairs,
        dataset.columns,
        dataset.unread,
    )
    for number, reason in dataset.unusable:
        loaded.unusable.add(str(reason), number)
    if not loaded.pairs:
        raise no_usable_rows_error(loaded, key)
    return loaded


def refuse_unclear(loaded: LoadedPairs, unclear: Mapping[int, UnclearRow], key: str) -> None:
    """Raises `DataError` where more than a few rows turned out to be unclear as they were rendered."""
    if len(unclear) > MANY * loaded.rows:
        message, _ = Counter(map(str, unclear.values())).most_common(1)[0]
        rows = [row for row, reason in unclear.items() if str(reason) == message]
        raise DataError(f"{key}: {loaded.source}: {message} ({list_row_places(loaded.places, rows)})")


def no_usable_rows_error(loaded: LoadedPairs, key: str) -> DataError:
    """Makes the error for a source none of whose rows can be used."""
    return DataError(f"{key}: {loaded.source}: none of its {loaded.rows} rows can be used: {loaded.unusable}")
