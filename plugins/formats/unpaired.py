"""Reads rows of one answer and a label, as for KTO, and says that they make no pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prefd.plugins.formats.compose import compose
from prefd.plugins.formats.labels import label_name
from prefd.plugins.formats.names import key_of
from prefd.plugins.formats.prompt import is_blank
from prefd.plugins.formats.row_shape import RowShape
from prefd.plugins.formats.sides import Sides
from prefd.plugins.formats.single import Single, find_single
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Feedback, Pair, RowFormat, UnclearRow, UnusableRow

PRECEDENCE = 20
ROW_SHAPES = (
    RowShape(
        "`prompt`, `completion`, `label` (true or false)",
        "one answer and whether it is a good one, for the losses `kto` and `bco`; no other loss reads it",
        "KTO-mix-14k",
    ),
)
LABELS = frozenset(["label", "labels"])
GOOD = frozenset(["true", "1", "yes", "good", "up", "positive", "desirable", "like", "liked", "thumbs_up", "chosen"])
BAD = frozenset(
    [
        "false",
        "0",
        "-1",
        "no",
        "bad",
        "down",
        "negative",
        "undesirable",
        "dislike",
        "disliked",
        "thumbs_down",
        "rejected",
    ]
)


class Unpaired:
    """Reads a row's answer and its label; for a loss that compares two answers to one prompt, every row is unusable."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Says whether `row` has one answer without a score."""
        single = find_single(row)
        return single is not None and not single.scores

    def pair(self, row: Mapping[str, Any]) -> Pair:
        """Raises `UnusableRow`, with what the row has instead of two answers."""
        single = find_single(row)
        column = "no answer" if single is None else f"one answer ({single.column})"
        label = next((f" and a {column}" for column in sorted(row) if key_of(column) in ("label", "labels")), "")
        raise UnusableRow(
            f"unpaired: {column}{label}; this loss compares two answers to one prompt, a chosen and a rejected one: take kto, which "
            "learns from single answers with a label; or where other rows have answers to it, give each a 'score', the better "
            "one the higher"
        )

    def columns(self, row: Mapping[str, Any]) -> frozenset[str]:
        """Names no column: there is no pair."""
        return frozenset()

    def feedback(self, row: Mapping[str, Any]) -> Feedback:
        """Reads the answer and its label. Raises `UnusableRow` for a row without one or the other."""
        single = find_single(row)
        if single is None:
            raise UnusableRow("no answer, or more than one")
        desirable = read_label(row)
        pair, _ = compose(row, _stand_beside(single))
        return Feedback(pair.prompt, pair.chosen, desirable, pair.tools, pair.chat_template_kwargs)

    def feedback_columns(self, row: Mapping[str, Any]) -> frozenset[str]:
        """Names the columns that the feedback is made of. Raises `UnusableRow` as `feedback` does."""
        single = find_single(row)
        if single is None:
            raise UnusableRow("no answer, or more than one")
        _, columns = compose(row, _stand_beside(single))
        return columns | {column for column in row if key_of(column) in LABELS}


def _stand_beside(single: Single) -> Sides:
    """Puts a stand-in beside the answer, so that it is read as a pair's side is: with the prompt that may be in it."""
    answer = single.answer
    if isinstance(answer, str):
        return Sides(answer, f"{answer} .", frozenset([single.column]))
    return Sides(answer, [*answer[:-1], {"role": "assistant", "content": "."}], frozenset([single.column]))


def read_label(row: Mapping[str, Any]) -> bool:
    """Reads whether the answer is a good one. Raises `UnusableRow` where that is not said for certain."""
    columns = [column for column in sorted(row) if key_of(column) in LABELS and not is_blank(row[column])]
    if not columns:
        raise UnusableRow("no label: whether the answer is a good one (data.label_feature names its column)")
    if len(columns) > 1:
        raise UnclearRow(f"{columns[0]!r} and {columns[1]!r} may both be the label; name one (data.label_feature)")
    value = label_name(row[columns[0]])
    word = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip().lower()
    if word in GOOD or word in BAD:
        return word in GOOD
    raise UnusableRow(f"the label is {word[:40]!r}, and neither true nor false")


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    """Registers `unpaired`."""
    register("unpaired", Unpaired())
