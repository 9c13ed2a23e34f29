"""Reads a prompt that is the JSON of the user's turns, and sides that answer them: Chatbot Arena's on Kaggle."""

from __future__ import annotations

import json
from typing import Any

from prefd.plugins.types import Message, UnusableRow

REPR = (
    "the prompt is Python's repr of a list; write JSON (json.dumps, or DataFrame.to_json(orient='records', lines=True))"
)


def as_turns(prompt: Any, *sides: Any) -> list[list[Message]] | None:
    """Makes each side's conversation; None where these are no lists. Raises `UnusableRow` for lists that do not fit."""
    questions, answers_of_sides = _texts(prompt), [_texts(side) for side in sides]
    if questions is None:
        if isinstance(prompt, str) and _is_repr(prompt):
            raise UnusableRow(REPR)
        return None
    for answers in answers_of_sides:
        if answers is None or len(answers) != len(questions) or None in [*questions, *answers]:
            raise UnusableRow("wrong types: the prompt is a list of turns, and an answer has not one text for each")
    return [
        [message for turn in zip(questions, answers or ()) for message in _turn(*turn)] for answers in answers_of_sides
    ]


def check_no_list(column: str, text: str) -> None:
    """Raises `UnusableRow` for a list of turns, written as text, that another column's text is to be set behind."""
    if _texts(text) is not None or _is_repr(text):
        raise UnusableRow(
            f"wrong types: {column} is a list of turns, written as text, and only a text can be joined to another"
        )


def _turn(question: str | None, answer: str | None) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _texts(value: Any) -> list[str | None] | None:
    """The texts in the JSON of a list; None stands for a turn that is missing. A real list may be a whole column of rows."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return None
    try:
        value = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and value and all(turn is None or isinstance(turn, str) for turn in value):
        return value
    return None


def _is_repr(text: str) -> bool:
    """Says whether `text`, which is no JSON, is a list of texts as `str` or NumPy write it."""
    text = text.strip().removeprefix("array(")
    return text.startswith(("['", '["')) and text.endswith(("]", "])", "dtype=object)"))
