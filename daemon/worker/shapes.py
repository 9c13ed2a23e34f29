"""What to say of a dataset whose rows no format has: what is missing, and the setting that would mend it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from prefd.daemon.worker.columns import columns_of
from prefd.daemon.worker.rows import DataError, Row
from prefd.plugins.formats.answers import find_answers
from prefd.plugins.formats.ballot import verdicts
from prefd.plugins.formats.names import key_of, side_of
from prefd.plugins.formats.sides import CONVERSATIONS, named_sides
from prefd.plugins.types import UnusableRow


def check_columns(rows: Sequence[Row], source: str, key: str) -> None:
    """Raises `DataError` for a dataset none of whose rows have the columns of a pair."""
    columns = columns_of(rows)
    if named_sides(columns) or all(isinstance(row, UnusableRow) for row in rows):
        return
    if not columns:
        raise DataError(f"{key}: {source} has no columns: each row needs chosen and rejected (and prompt, or not)")
    raise DataError(f"{key}: {source} {_missing(rows, columns)}")


def _missing(rows: Sequence[Row], columns: Sequence[str]) -> str:
    first = next(row for row in rows if not isinstance(row, UnusableRow))
    answers, who, listed = find_answers(first), verdicts(first), ", ".join(columns)
    if answers is not None and not who:
        return (
            f"has {answers.listed}, and no column is known to say which is preferred; its columns: {listed}. "
            "Name the column that says it with data.winner_feature, or the one with each answer's score with data.score_feature"
        )
    for side, other in (("chosen", "rejected"), ("rejected", "chosen")):
        there = [column for column in columns if side_of(column) == side]
        if len(there) > 1:
            return (
                f"has {' and '.join(there)}, which may each be the {side} answer; its columns: {listed}. "
                f"Name the sides with data.chosen_feature and data.rejected_feature"
            )
        if len(there) == 1 and there[0] != side:
            return (
                f"has {there[0]!r} for the {side} answer and none for the {other} one; its columns: {listed}. "
                f"Name it with data.{other}_feature"
            )
    if who and answers is None:
        return (
            f"has {' and '.join(map(repr, who))}, which may say which answer is preferred, and no two columns are known "
            f"to be the answers; its columns: {listed}. Call them answer_a and answer_b"
        )
    if several := [column for column in columns if side_of(column) == "answer" and isinstance(first.get(column), list)]:
        return (
            f"has lists of answers ({several[0]!r}), and nothing says which of them is the better one; its columns: {listed}. "
            "Put the answers into columns 'chosen' and 'rejected', or their scores into a list 'scores'"
        )
    if alone := [column for column in columns if key_of(column) in CONVERSATIONS]:
        return (
            f"is unpaired: it has one conversation a row ({alone[0]!r}) and no second answer; its columns: {listed}. "
            "prefd's losses compare two answers to one prompt, a chosen and a rejected one"
        )
    missing = [name for name in ("chosen", "rejected") if name not in columns]
    near = [column for name in missing for column in difflib.get_close_matches(name, columns, n=2)]
    hint = f" Did you mean {' or '.join(map(repr, dict.fromkeys(near)))}?" if near else ""
    fields = " and ".join(f"data.{name}_feature" for name in missing)
    return (
        f"has no column {' or '.join(map(repr, missing))}; its columns: {listed}.{hint} Name the columns with {fields}"
    )
