"""Checks columns that say which answer won, beside two sides that are known by their own names: they must agree.

The sides go by their names. A column that names the other one as the better, or a tie, is no other fact about the row: it
turns the pair round, and which of the two is right only the data's owner knows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.dataset import Dataset
from prefd.daemon.worker.data.unread import find_settled_parts
from prefd.plugins.formats.answers import find_answers
from prefd.plugins.formats.chats import as_chat, squeeze_blanks
from prefd.plugins.formats.fields import is_text
from prefd.plugins.formats.labels import label_name
from prefd.plugins.formats.names import key_of, side_of, words_of
from prefd.plugins.formats.naming import mark_in
from prefd.plugins.formats.outcome import Verdict
from prefd.plugins.formats.prompt import answer_text, is_blank
from prefd.plugins.formats.sides import known_sides, named_sides
from prefd.plugins.formats.verdicts import is_verdict
from prefd.plugins.types import Pair, UnclearRow, UnusableRow

TIES = frozenset(["tie", "ties", "tied", "draw"])
Row = Mapping[str, Any]


def check_judgements(dataset: Dataset, spec: DataSpec) -> None:
    """Moves rows to `unusable` whose column of the winner says otherwise than the names of their sides.

    Where the spec names the sides it has the last word, and a note tells of such rows.
    """
    rows = dataset.named_rows.usable
    columns = [
        column
        for column in dict.fromkeys(column for row in rows.values() for column in row)
        if is_verdict(column) and side_of(column) is None and column not in spec.ignore_columns
    ]
    verdicts = [Verdict(column, [row.get(column) for row in rows.values()]) for column in columns]
    reasons: dict[int, UnclearRow] = {}
    _note_marks(dataset, columns)
    for number, pair in dataset.pairs:
        columns_read, row = dataset.columns_read.get(number, set()), rows[number]
        sides = named_sides(columns_read)
        if sides is None:
            reason = _find_reversed(row, pair, columns_read)
        else:
            names = (dataset.named_rows.original(sides[0]), dataset.named_rows.original(sides[1]))
            unread = [verdict for verdict in verdicts if verdict.column not in columns_read]
            reason = _find_contradiction(row, sides, names, unread)
        if reason is not None:
            reasons[number] = reason
    if reasons and "verdict" in find_settled_parts(spec):
        dataset.notes.append(
            f"in {len(reasons)} of {len(rows)} rows a column of the winner says otherwise than data.chosen_feature and "
            f"data.rejected_feature, which are gone by ({dataset.name_rows(list(reasons))})"
        )
        return
    dataset.unusable += sorted(reasons.items())
    dataset.pairs = [(number, pair) for number, pair in dataset.pairs if number not in reasons]


def _note_marks(dataset: Dataset, columns: Sequence[str]) -> None:
    """Notes each of the `columns` whose bare numbers or letters name an answer that the row has not, beside its two sides."""
    rows = dataset.named_rows.usable
    sides = next(filter(None, map(named_sides, dataset.columns_read.values())), None)
    if sides is None or any(find_answers(_without(row, sides)) is not None for row in rows.values()):
        return
    names = [dataset.named_rows.original(side) for side in sides]
    for column in columns:
        is_read = any(column in columns_read for columns_read in dataset.columns_read.values())
        if is_read or "strength" in words_of(column):
            continue
        values = [label_name(row.get(column)) for row in rows.values() if not is_blank(row.get(column))]
        marks = dict.fromkeys(str(value) for value in values if _is_mark(value, sides))
        if marks and len(marks) > 1 - ("label" not in key_of(column)):
            listed = " or ".join(list(marks)[:3])
            dataset.notes.append(
                f"{column} holds {listed}, which names neither {names[0]} nor {names[1]} and is not gone by: {names[0]} is the better "
                "one, by its name; where that is wrong, call them answer_a and answer_b and write the winner's letter into "
                f"{column}"
            )


def _is_mark(value: Any, sides: tuple[str, str]) -> bool:
    """Says whether a value is a bare number or letter, and not the last letter of a side's name."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    mark = mark_in(str(value).removesuffix(".0")) if not isinstance(value, str) or value.strip() else ""
    return bool(mark) and mark not in {words_of(side)[-1] for side in sides}


def _without(row: Row, columns: Collection[str]) -> Row:
    return {column: value for column, value in row.items() if column not in columns}


def _find_contradiction(
    row: Row, sides: tuple[str, str], names: tuple[str, str], verdicts: Sequence[Verdict]
) -> UnclearRow | None:
    """Explains which of the `verdicts` calls the worse side the better one. `names`: the dataset's own of the `sides`."""
    better, worse = (_text(row[side]) for side in sides)
    for verdict in verdicts:
        value = label_name(row.get(verdict.column))
        if is_blank(value) or isinstance(value, list | tuple | Mapping):
            continue
        remedy = f"where the names are right, leave it out (data.ignore_columns: [{verdict.column}])"
        if isinstance(value, str) and set(words_of(value)) and set(words_of(value)) <= TIES:
            return UnclearRow(
                f"{verdict.column} is {value!r}, and {names[0]} and {names[1]} are a better and a worse answer; {remedy}, or "
                "else leave such rows out"
            )
        if _names_worse_side(value, names, worse, better) or _won(row, verdict, sides) == worse != better:
            return UnclearRow(
                f"{verdict.column} says that {names[1]} is better than {names[0]}, whose name says the opposite; {remedy}, or "
                "where it is right call the sides answer_a and answer_b and write a or b into it"
            )
    return None


def _find_reversed(row: Row, pair: Pair, columns_read: Collection[str]) -> UnclearRow | None:
    """Explains that two columns that are sides by their names, and were not read, have the pair's answers the other way round."""
    sides = known_sides(column for column in row if column not in columns_read)
    if sides is None:
        return None
    chosen, rejected = _text(pair.chosen), _text(pair.rejected)
    if chosen == rejected or (_text(row[sides[0]]), _text(row[sides[1]])) != (rejected, chosen):
        return None
    return UnclearRow(
        f"{sides[0]} and {sides[1]} say by their names that the answer that lost is the better one; where they are wrong, leave "
        f"them out (data.ignore_columns: [{', '.join(sides)}]), or else name them (data.chosen_feature: {sides[0]}, "
        f"data.rejected_feature: {sides[1]})"
    )


def _names_worse_side(value: Any, names: tuple[str, str], worse: str, better: str) -> bool:
    """Says whether a value is the worse side's name, its last letter where only that tells the sides apart, or its text."""
    if not isinstance(value, str):
        return False
    if key_of(value) == key_of(names[1]):
        return True
    if key_of(value) == key_of(names[0]):
        return False
    words = [words_of(name) for name in names]
    is_last_word = words[0][:-1] == words[1][:-1] and words_of(value) == words[1][-1:]
    return is_last_word or side_of(value) == "rejected" or squeeze_blanks(value).casefold() == worse != better


def _won(row: Row, verdict: Verdict, sides: tuple[str, str]) -> str | None:
    """The text of the answer that won, of answers that stand beside the sides; None where there are none, or none for certain."""
    others = _without(row, sides)
    answers = find_answers(others)
    if answers is None:
        return None
    try:
        return _text(answers.texts[verdict.find_winner(others, answers)])
    except UnusableRow:
        return None


def _text(side: Any) -> str:
    chat = as_chat(side)
    return squeeze_blanks(answer_text(chat)).casefold() if is_text(chat) else ""
