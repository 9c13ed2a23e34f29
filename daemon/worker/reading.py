"""Rows → pairs by the one format of a dataset, with every column accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefd.daemon.spec import DataSpec
from prefd.daemon.worker.columns import NamedRows, name_columns
from prefd.daemon.worker.margins import with_margin
from prefd.daemon.worker.rows import DataError, Row
from prefd.daemon.worker.shapes import check_columns
from prefd.daemon.worker.unread import check_unread, looks_like, may_be_prompt, settled
from prefd.plugins.formats.fields import is_text
from prefd.plugins.formats.implicit_text import NO_PROMPT, ImplicitText
from prefd.plugins.formats.prompt import is_blank
from prefd.plugins.types import DatasetFormat, Pair, Reading, RowFormat, UnclearRow, UnusableRow

NEARLY_ALL = 0.9
UNMATCHED = "explicit"
"""Whose words are used where no format has the rows."""
SHOWN_ROWS = 5
"""How many row numbers of each reason are shown."""


@dataclass
class Dataset:
    """The pairs of a dataset's rows, and what became of everything else in it."""

    format: str
    pairs: list[tuple[int, Pair]] = field(default_factory=list)
    """With the number of the row that each comes from, in order."""
    unusable: list[tuple[int, UnusableRow]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """Columns that no pair is made of."""
    notes: list[str] = field(default_factory=list)


class WatchedRow(dict[str, Any]):
    """A row that remembers which columns were looked up: what a format read that does not say it."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        super().__init__(row)
        self.read: set[str] = set()

    def __getitem__(self, column: str) -> Any:
        self.read.add(column)
        return super().__getitem__(column)

    def get(self, column: str, default: Any = None) -> Any:
        self.read.add(column)
        return super().get(column, default)

    def __iter__(self) -> Iterator[str]:
        self.read |= self.keys()
        return super().__iter__()

    def items(self) -> Any:
        self.read |= self.keys()
        return super().items()

    def values(self) -> Any:
        self.read |= self.keys()
        return super().values()


def read_dataset(
    rows: Sequence[Row], spec: DataSpec, formats: Mapping[str, RowFormat], source: str, key: str
) -> Dataset:
    """The pairs of `rows`. `source` and `key` are for messages: `DataError` where it is not certain what is meant."""
    named = name_columns(rows, spec, source)
    name, matching = detect_format(named.rows, formats)
    if not any(matching):
        check_columns(named.rows, source, key)
    reading = _read(named, name, matching, formats[name], f"{key}: {source}")
    made = Dataset(name, reading.pairs, reading.unusable, notes=reading.notes)
    _check_options(spec, made, formats[name], source)
    strict = hasattr(formats[name], "columns") or isinstance(formats[name], DatasetFormat)
    if strict:
        _check_repeats(made, named, reading.columns, spec)
    read = {column for columns in reading.columns.values() for column in columns}
    _refuse_unclear(made, len(rows), f"{key}: {source}")
    if isinstance(formats[name], ImplicitText):
        _check_implicit(made, named, read, f"{key}: {source}")
    _score(made, named, read, spec, source)
    originals = {named.original(column) for column in read} | named.joined
    made.unread = [column for column in named.columns if column not in originals and _is_filled(rows, column)]
    return made


def detect_format(rows: Sequence[Row], formats: Mapping[str, RowFormat]) -> tuple[str, list[bool]]:
    """The format of all `rows` together, and which of them have it.

    Formats are registered from general to special: the last that matches nearly as many rows as any other is taken, so
    that a few odd rows among transcripts do not turn every transcript into plain text.
    """
    matching = {
        name: [not isinstance(row, UnusableRow) and row_format.matches(row) for row in rows]
        for name, row_format in formats.items()
    }
    most = max(map(sum, matching.values()), default=0)
    if most == 0 and UNMATCHED in matching:
        return UNMATCHED, matching[UNMATCHED]
    best = next(name for name in reversed(matching) if sum(matching[name]) >= NEARLY_ALL * most)
    return best, matching[best]


def listed(rows: Sequence[int]) -> str:
    """`rows` in words, the first few of them."""
    more = ", …" if len(rows) > SHOWN_ROWS else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {', '.join(map(str, rows[:SHOWN_ROWS]))}{more}"


def _read(named: NamedRows, name: str, matching: Sequence[bool], row_format: RowFormat, where: str) -> Reading:
    if not isinstance(row_format, DatasetFormat):
        return _read_each(named.rows, name, matching, row_format)
    broken = [(number, row) for number, row in enumerate(named.rows, 1) if isinstance(row, UnusableRow)]
    rows = {number: row for number, row in enumerate(named.rows, 1) if not isinstance(row, UnusableRow)}
    try:
        reading = row_format.read(rows, named.options)
        for number, pair in reading.pairs:
            _check_pair(pair, name)
            rows[number]  # a pair has the number of one of its rows
    except Exception as error:  # a plugin's fault
        raise DataError(f"{where}: format {name!r} failed: {type(error).__name__}: {error}") from error
    reading.unusable += broken
    return reading


def _read_each(rows: Sequence[Row], name: str, matching: Sequence[bool], row_format: RowFormat) -> Reading:
    reading = Reading()
    for number, (row, matches) in enumerate(zip(rows, matching), 1):
        try:
            if isinstance(row, UnusableRow):
                raise row
            pair, columns = _pair(row, matches, name, row_format)
        except UnusableRow as reason:
            reading.unusable.append((number, reason))
        else:
            reading.pairs.append((number, pair))
            reading.columns[number] = columns
    return reading


def _pair(row: Mapping[str, Any], matches: bool, name: str, row_format: RowFormat) -> tuple[Pair, set[str]]:
    columns: Callable[[Mapping[str, Any]], Any] | None = getattr(row_format, "columns", None)
    watched = None if columns else WatchedRow(row)
    try:
        pair = row_format.pair(row if watched is None else watched)
        if matches:
            _check_pair(pair, name)
            return pair, watched.read if watched is not None else set(columns(row) if columns else ())
    except UnusableRow:
        raise  # it knows best, also about a row of another shape
    except Exception as error:
        if matches:  # a plugin's fault, or a row it did not think of; the other rows may still be fine
            raise UnusableRow(f"format {name!r} failed: {type(error).__name__}: {error}") from error
        raise UnusableRow(f"not in the dataset's format ({name})") from error
    raise UnusableRow(f"not in the dataset's format ({name})")


def _check_pair(pair: Any, name: str) -> None:
    if not isinstance(pair, Pair) or not all(is_text(text) for text in (pair.prompt, pair.chosen, pair.rejected)):
        raise UnusableRow(f"format {name!r} failed: it gave no pair of texts or chat messages")


def _check_options(spec: DataSpec, made: Dataset, row_format: RowFormat, source: str) -> None:
    """Raises `DataError` for a column that only formats of several answers can honour; says what else has no effect."""
    if isinstance(row_format, DatasetFormat):
        return
    for key in ("winner_feature", "score_feature"):
        if getattr(spec, key) != "auto":
            raise DataError(
                f"data.{key}: the rows of {source} are in format {made.format}, which has one pair a row and no use for "
                "it; leave it out"
            )
    if spec.pairs != "best_worst":
        made.notes.append(f"data.pairs: {spec.pairs} has no effect: format {made.format} has one pair a row")


def _check_repeats(made: Dataset, named: NamedRows, read: Mapping[int, set[str]], spec: DataSpec) -> None:
    """Moves rows to `unusable` that have something of a pair in a column that was not read."""
    certain = settled(spec)
    columns = {column: looks_like(column) for row in named.rows if not isinstance(row, UnusableRow) for column in row}
    parts = {column: part for column, part in columns.items() if part and part not in certain}
    if not parts:
        return
    of_row: dict[int, list[Pair]] = {}
    for number, pair in made.pairs:
        of_row.setdefault(number, []).append(pair)
    for number, pairs in of_row.items():
        try:
            check_unread(_row(named, number), pairs, parts, read.get(number, set()))
        except UnclearRow as reason:
            made.unusable.append((number, reason))
    unclear = {number for number, reason in made.unusable if isinstance(reason, UnclearRow)}
    made.pairs = [(number, pair) for number, pair in made.pairs if number not in unclear]


def _refuse_unclear(made: Dataset, count: int, where: str) -> None:
    """Raises `DataError` where more than a few rows are unclear: then the dataset is."""
    unclear = [(number, str(reason)) for number, reason in made.unusable if isinstance(reason, UnclearRow)]
    if len(unclear) > (1 - NEARLY_ALL) * count:
        message, _ = Counter(reason for _, reason in unclear).most_common(1)[0]
        raise DataError(f"{where}: {message} ({listed([number for number, reason in unclear if reason == message])})")


def _check_implicit(made: Dataset, named: NamedRows, read: set[str], where: str) -> None:
    """Raises `DataError` where the words that both sides begin with may not be the prompt; says how many they are."""
    rows = [row for row in named.rows if not isinstance(row, UnusableRow)]
    columns = [column for column in named.columns if column not in read and any(column in row for row in rows)]
    if others := may_be_prompt(rows, columns):
        raise DataError(
            f"{where}: no column is known to be the prompt, and {' or '.join(map(repr, others))} may be it; name it "
            f"(data.prompt_feature: {others[0]}), or, where both sides begin with their prompt, leave it out "
            f"(data.ignore_columns: [{', '.join(others)}])"
        )
    bare = [number for number, reason in made.unusable if str(reason) == NO_PROMPT]
    if len(bare) > (1 - NEARLY_ALL) * len(rows):
        raise DataError(
            f"{where}: in {len(bare)} of {len(rows)} rows the sides have no first words in common ({listed(bare)}): these "
            "are answers without their prompts; add a column 'prompt'"
        )
    words = sorted(len(str(pair.prompt).split()) for _, pair in made.pairs)
    if words:
        made.notes.append(
            f"no column is the prompt: it is the words that both sides begin with, {words[0]} to {words[-1]} of them "
            f"(median {words[len(words) // 2]})"
        )


def _score(made: Dataset, named: NamedRows, read: set[str], spec: DataSpec, source: str) -> None:
    """Counts pairs whose scores contradict them, and leaves out those below `data.min_margin`."""
    scored = []
    for number, pair in made.pairs:
        pair, columns = with_margin(pair, _row(named, number))
        read |= columns
        scored.append((number, pair))
    made.pairs = scored
    known = [(number, pair.margin) for number, pair in scored if pair.margin is not None]
    if (wanted := spec.min_margin) is not None:
        if not known:
            raise DataError(
                f"data.min_margin: {source} has no scores of both sides (as score_chosen and score_rejected); "
                f"its columns: {', '.join(named.columns)}"
            )
        made.pairs = [(number, pair) for number, pair in scored if pair.margin is not None and pair.margin >= wanted]
        kept = {number for number, _ in made.pairs}
        low = {number for number, margin in known if margin < wanted}
        made.unusable += [
            (number, UnusableRow(f"a margin below data.min_margin {wanted:g}")) for number in sorted(low - kept)
        ]
        missing = {number for number, _ in scored} - {number for number, _ in known}
        made.unusable += [(number, UnusableRow("no scores, which data.min_margin needs")) for number in sorted(missing)]
        if part := sorted(low & kept):
            made.notes.append(f"pairs below data.min_margin {wanted:g} are left out of {listed(part)}")
        known = [(number, margin) for number, margin in known if margin >= wanted]
    for rows, what in (
        ([number for number, margin in known if margin < 0], "chosen scores lower than rejected"),
        ([number for number, margin in known if margin == 0], "both sides have the same score"),
    ):
        if rows:
            made.notes.append(
                f"in {len(rows)} {'pair' if len(rows) == 1 else 'pairs'} {what} ({listed(rows)}); data.min_margin leaves such pairs out"
            )


def _is_filled(rows: Sequence[Row], column: str) -> bool:
    return any(not isinstance(row, UnusableRow) and not is_blank(row.get(column)) for row in rows)


def _row(named: NamedRows, number: int) -> Mapping[str, Any]:
    row = named.rows[number - 1]
    assert not isinstance(row, UnusableRow)
    return row
