"""Finds a row's prompt and sides whatever its columns are called, and the columns that they were read from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from prefd.plugins.formats.chats import check_messages, is_transcript
from prefd.plugins.formats.fields import finish, is_conversation
from prefd.plugins.formats.marks import names_of_answers
from prefd.plugins.formats.metadata import is_media
from prefd.plugins.formats.prompt import Prompt, check_prompt, find_prompt, is_blank, with_turns, without_empty_answer
from prefd.plugins.formats.sides import Sides, find_sides
from prefd.plugins.formats.turns import as_turns
from prefd.plugins.types import Pair, Text, UnusableRow

DATA_URI = re.compile(r"data:(image|audio|video)/")
OPTIONAL = frozenset(["tools", "chat_template_kwargs"])


class Known(NamedTuple):
    """Known holds a row's values by the names of a pair: `prompt`, `chosen`, `rejected` and the optional columns."""

    values: dict[str, Any]
    columns: frozenset[str]
    problem: UnusableRow | None = None
    """Why the prompt is not certain."""

    @property
    def has_prompt(self) -> bool:
        """Says whether the row has a prompt, be it a certain one or not."""
        return self.problem is not None or self.values.get("prompt") is not None


def read_known_names(row: Mapping[str, Any], sides: Sides | None = None) -> Known | None:
    """Reads `row` by the names of a pair; None where it has no two sides.

    `sides`: the sides, where the caller has found them.
    """
    doubt = None
    if sides is None and (sides := find_sides(row)) is not None:
        doubt = names_of_answers(row, sides)
    if sides is None:
        return None
    values = {column: row[column] for column in OPTIONAL & row.keys()}
    values |= {"chosen": sides.chosen, "rejected": sides.rejected}
    try:
        if doubt is not None:
            raise doubt
        prompt = _prompt(row, sides)
        turns = as_turns(prompt.text, sides.chosen, sides.rejected)
    except UnusableRow as reason:
        return Known(values | {"prompt": None}, sides.columns | (OPTIONAL & row.keys()), reason)
    if turns is not None:
        values |= dict(zip(("chosen", "rejected"), turns))
    columns = sides.columns | prompt.columns | (OPTIONAL & row.keys())
    return Known(values | {"prompt": None if turns else prompt.text}, columns)


def _prompt(row: Mapping[str, Any], sides: Sides) -> Prompt:
    if sides.prompt:
        return Prompt(sides.prompt)
    answers = (sides.chosen, sides.rejected)
    if all(map(is_conversation, answers)) or all(map(is_transcript, answers)):
        # They hold their prompt; only a column of that very name is looked at beside them.
        has_prompt_column = "prompt" in row and "prompt" not in sides.columns
        return Prompt(row["prompt"], frozenset(["prompt"])) if has_prompt_column else Prompt(None)
    return find_prompt(row, sides.columns, answers)


def read_usable_row(row: Mapping[str, Any], sides: Sides | None = None) -> Known:
    """Reads `row` as `read_known_names` does.

    Raises `UnusableRow` where it has no two sides, is unclear, or holds what is no text.
    """
    check_media(row)
    known_row = read_known_names(row, sides)
    if known_row is None:
        raise UnusableRow("no two columns are its chosen and its rejected answer")
    if known_row.problem is not None:
        raise known_row.problem
    for side in ("prompt", "chosen", "rejected"):
        check_messages(known_row.values[side])
    return known_row


def make_pair(row: Mapping[str, Any], known_row: Known, prompt: Text, chosen: Text, rejected: Text) -> Pair:
    """Makes the pair with the row's system turn, history and optional columns. Raises `UnusableRow`."""
    check_prompt(prompt)
    full_prompt, _ = with_turns(row, without_empty_answer(prompt), known_row.columns)
    return finish(known_row.values, full_prompt, chosen, rejected)


def columns_of(row: Mapping[str, Any], sides: Sides | None = None) -> frozenset[str]:
    """Names the columns of `row` that its pair is made of."""
    known_row = read_known_names(row, sides)
    if known_row is None:
        return frozenset()
    return known_row.columns | with_turns(row, "", known_row.columns)[1]


def _is_file(value: Any) -> bool:
    """Says whether it is an image or a sound as `datasets` stores it, or a list of them."""
    if isinstance(value, list | tuple) and value:
        return all(map(_is_file, value))
    if isinstance(value, str):
        return DATA_URI.match(value) is not None
    return isinstance(value, Mapping) and {"bytes", "path"} <= value.keys() <= {"bytes", "path", "sampling_rate"}


def check_media(row: Mapping[str, Any]) -> None:
    """Raises `UnusableRow` for a column of images, audio or video that has any."""
    for column in row:
        if (is_media(column) and not is_blank(row[column])) or _is_file(row[column]):
            raise UnusableRow(
                f"the column {column!r} is no text: prefd trains on text; where the rows make sense without it, leave it out "
                f"(data.ignore_columns: [{column}])"
            )
