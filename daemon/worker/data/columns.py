"""Renames the columns that a spec names to what row formats look for, and drops those that it leaves out."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.rows import DataError, Row
from prefd.plugins.formats.fields import kind_of
from prefd.plugins.formats.names import SYSTEMS, key_of, side_of, words_of
from prefd.plugins.formats.numbering import numbered_columns
from prefd.plugins.formats.prompt import is_blank
from prefd.plugins.formats.score_words import LESS, LOW, RANKS, SCORES
from prefd.plugins.formats.scored import is_low, is_order, low_is_better
from prefd.plugins.formats.verdicts import LOSERS, is_verdict
from prefd.plugins.types import ReadOptions, UnusableRow

ROLES = ("prompt", "chosen", "rejected", "completion", "label", "system")


@dataclass(frozen=True)
class NamedRows:
    """NamedRows holds a dataset's rows with the spec's columns renamed, and the names that they had before."""

    rows: list[Row]
    columns_by_name: Mapping[str, str]
    """{name that formats look for: column}."""
    columns: list[str]
    """The dataset's own columns, in order of appearance."""
    options: ReadOptions
    filled_columns: frozenset[str] = frozenset()
    """Those of `columns` that hold something in any row."""
    joined_columns: frozenset[str] = frozenset()
    """Those of `columns` that the spec joins to the prompt."""

    @cached_property
    def usable(self) -> dict[int, Mapping[str, Any]]:
        """Returns the rows that are mappings of columns, by number, from 1."""
        return {number: row for number, row in enumerate(self.rows, 1) if not isinstance(row, UnusableRow)}

    def original(self, name: str) -> str:
        """Gives the dataset's own name of the column called `name` in `rows`."""
        return self.columns_by_name.get(name, name)


def name_columns(rows: Sequence[Row], spec: DataSpec, source: str) -> NamedRows:
    """Renames the spec's columns. Raises `DataError` for a column that the spec names and no row has."""
    columns = columns_of(rows)
    filled_columns = frozenset(column for column in columns if any(_is_filled(row, column) for row in rows))
    _check_columns_named(spec, columns, source)
    joined_columns = [] if isinstance(spec.prompt_feature, str) else spec.prompt_feature
    if joined_columns:
        rows = [row if isinstance(row, UnusableRow) else _join_columns(row, joined_columns) for row in rows]
    columns_by_name = {role: getattr(spec, f"{role}_feature") for role in ROLES}
    columns_by_name = {
        role: column for role, column in columns_by_name.items() if isinstance(column, str) and column != "auto"
    }
    winner, score = (None if name == "auto" else name for name in (spec.winner_feature, spec.score_feature))
    if winner is not None and not is_verdict(winner):
        columns_by_name["winner"], winner = winner, "winner"
    if score in columns and key_of(score) not in SCORES and not is_order(score) and RANKS.isdisjoint(words_of(score)):
        columns_by_name["score"], score = score, "score"
    original_names: dict[str, str] = {}
    if score is not None and (numbered := _numbered_scores(score, columns)):
        columns_by_name |= numbered
        score, original_names = "score", {"score": score}
    dropped_columns = set(spec.ignore_columns) | _find_displaced(columns, columns_by_name)
    if score is not None and winner is None:
        dropped_columns |= {column for column in columns if is_verdict(column) and side_of(column) is None}
    options = ReadOptions(spec.pairs, winner, score, {**columns_by_name, **original_names})
    named_rows: list[Row] = [
        row if isinstance(row, UnusableRow) else _rename_columns(row, columns_by_name, dropped_columns) for row in rows
    ]
    return NamedRows(
        named_rows,
        {**columns_by_name, **({"prompt": joined_columns[0]} if joined_columns else {})},
        columns,
        options,
        filled_columns,
        frozenset(joined_columns),
    )


def _check_columns_named(spec: DataSpec, columns: Sequence[str], source: str) -> None:
    """Raises `DataError` for a column that the spec names and that is not there, or is not what it is named as."""
    prompts = [] if isinstance(spec.prompt_feature, str) else spec.prompt_feature
    named_columns = [("prompt_feature", column) for column in prompts]
    roles = ((f"{role}_feature", getattr(spec, f"{role}_feature")) for role in ROLES)
    named_columns += [(key, column) for key, column in roles if isinstance(column, str) and column != "auto"]
    named_columns += [("ignore_columns", column) for column in spec.ignore_columns]
    for key, column in named_columns:
        _check_known(key, column, columns, source)
    if spec.score_feature != "auto" and is_low(spec.score_feature):
        raise DataError(f"data.score_feature: {source}: {low_is_better(spec.score_feature)}")
    if spec.winner_feature != "auto":
        _check_known("winner_feature", spec.winner_feature, columns, source)
        _check_winner(spec.winner_feature, source)


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Lists every column that any row has, in order of appearance."""
    return list(dict.fromkeys(column for row in rows if not isinstance(row, UnusableRow) for column in row))


def _is_filled(row: Row, column: str) -> bool:
    return not isinstance(row, UnusableRow) and not is_blank(row.get(column))


def _check_known(key: str, column: str, columns: Sequence[str], source: str) -> None:
    if column in columns:
        return
    near_columns = difflib.get_close_matches(column, columns, n=3)
    hint = f" Did you mean {' or '.join(map(repr, near_columns))}?" if near_columns else ""
    column_list = ", ".join(columns) or "none"
    raise DataError(f"data.{key}: {source} has no column {column!r}; its columns: {column_list}.{hint}")


def _numbered_scores(score: str, columns: Sequence[str]) -> dict[str, str]:
    """{`score_a`: `grade_a`} where the spec names `grade`, which by its name is no score; {} where no columns are that."""
    words = words_of(score)
    if score in columns or not words or words[-1] in (*SCORES, *RANKS) or is_order(score):
        return {}
    marks = numbered_columns(columns).get(words, {})
    return {f"score_{mark}": column for mark, column in marks.items()} if len(marks) > 1 else {}


def _check_winner(column: str, source: str) -> None:
    words = set(words_of(column))
    if bool(words & (LOSERS | LOW)) != bool(words & LESS):  # `more_toxic`, `less_helpful`; not `less_toxic`
        raise DataError(
            f"data.winner_feature: {source}: {column!r}, by its name, says which answer is the worse one; "
            "write the better one's name into a column of its own, and name that"
        )


def _join_columns(row: Mapping[str, Any], columns: Sequence[str]) -> Row:
    """`row` with the texts of `columns` in one column, a line break between; or why they cannot be joined."""
    texts = [row.get(column) for column in columns if not is_blank(row.get(column))]
    for column in columns:
        if not is_blank(row.get(column)) and not isinstance(row.get(column), str):
            return UnusableRow(f"wrong types: {column} is {kind_of(row.get(column))}, and only texts can be joined")
    other_columns = {column: value for column, value in row.items() if column not in columns}
    return other_columns | {"prompt": "\n".join(str(text).strip() for text in texts)}


def _find_displaced(columns: Sequence[str], columns_by_name: Mapping[str, str]) -> set[str]:
    """Columns whose part the spec gives to another one."""
    system_columns = {column for column in columns if "system" in columns_by_name and key_of(column) in SYSTEMS}
    return system_columns - set(columns_by_name.values())


def _rename_columns(
    row: Mapping[str, Any], columns_by_name: Mapping[str, str], dropped_columns: set[str]
) -> dict[str, Any]:
    removed_columns = dropped_columns | set(columns_by_name.values())
    other_columns = {column: value for column, value in row.items() if column not in removed_columns}
    return other_columns | {
        name: row.get(column) for name, column in columns_by_name.items() if column not in dropped_columns
    }
