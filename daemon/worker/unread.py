"""Columns that nobody read: which they are, and which of them may be a prompt, a system turn or an answer.

Such a column must repeat what was read. Where it says something else, a row is not what its reader takes it for.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from prefd.daemon.dataspec import DataSpec
from prefd.plugins.formats.ballot import is_verdict
from prefd.plugins.formats.chats import as_chat, squeezed, user_texts
from prefd.plugins.formats.fields import content_text, is_text
from prefd.plugins.formats.names import PROMPTS, SYSTEMS, is_answer_base, key_of, numbered, side_of
from prefd.plugins.formats.prompt import LEAST, answer_text, is_about, is_blank, repeats
from prefd.plugins.formats.sides import KNOWN, named_sides
from prefd.plugins.types import Pair, Text, UnclearRow

WORDS = 3
"""From how many words on a column as `winner` is taken for an answer."""
PERSONAS = frozenset(["persona", "preamble", "character", "system_text", "system_context"])
"""Names that are no certain system turn, and no metadata either."""
KINDS = {"prompt": "a prompt", "system": "a system turn", "answer": "an answer"}


def looks_like(column: str) -> str | None:
    """What a column of this name may hold: `prompt`, `system`, `answer`, `verdict` (a word, or an answer), or none of these."""
    key = key_of(column)
    if key in PROMPTS:
        return "prompt"
    if key in SYSTEMS | PERSONAS or (key.rpartition("_")[0] in SYSTEMS and not is_about(column)):
        return "system"
    if any(key in pair for pair in KNOWN):
        return "answer"
    one = numbered(column)
    if is_verdict(column) and side_of(column) is None:
        return "verdict"
    return "answer" if side_of(column) or (one is not None and is_answer_base(one.base)) else None


def settled(spec: DataSpec) -> set[str]:
    """The parts whose columns the spec names, so that no other column can be them."""
    named: dict[str, list[str | list[str]]] = {
        "prompt": [spec.prompt_feature],
        "system": [spec.system_feature],
        "answer": [spec.chosen_feature, spec.rejected_feature],
        "verdict": [spec.chosen_feature, spec.rejected_feature],
    }
    return {part for part, features in named.items() if all(feature != "auto" for feature in features)}


def check_unread(
    row: Mapping[str, Any], pairs: Sequence[Pair], parts: Mapping[str, str], read: Collection[str]
) -> None:
    """Raises `UnclearRow` for a column of `parts` ({column: what it looks like}) that says what no pair of the row says.

    `read`: the row's columns that its pairs are made of.
    """
    texts = [text for pair in pairs for text in texts_of(pair)]
    for column, part in parts.items():
        value = as_chat(row.get(column))
        if part == "answer" and isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
            (value,) = value
        if column in read or is_blank(value) or (part in ("answer", "verdict") and not is_text(value)):
            continue
        if part == "verdict":
            if len(answer_text(value).split()) < WORDS:
                continue  # who won, of answers that are read by their own names
            part = "answer"
        if not (_is_among(answer_text(value), texts) if part == "answer" else repeats(value, texts)):
            raise UnclearRow(
                f"the column {column!r} looks like {KINDS[part]} and says something else than what was read; "
                f"{_naming(column, part, read)}leave it out (data.ignore_columns: [{column}])"
            )


def check_tools(row: Mapping[str, Any], read: Collection[str], ignored: Collection[str]) -> None:
    """Raises `UnclearRow` for a column that holds tools, as `functions` may, where the row has none by that name."""
    for column, value in row.items():
        if column not in read and column not in ignored and _are_tools(value) and is_blank(row.get("tools")):
            raise UnclearRow(
                f"the column {column!r} looks like tools and is not read; call it 'tools', or leave it out "
                f"(data.ignore_columns: [{column}])"
            )


def _are_tools(value: Any) -> bool:
    """Whether it is the schemas of functions that a model may call, or the JSON text of them."""
    if isinstance(value, str) and value.lstrip().startswith("[") and '"name"' in value:
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return False
    if not isinstance(value, list | tuple) or not value or not all(isinstance(one, Mapping) for one in value):
        return False
    schemas = [one["function"] if isinstance(one.get("function"), Mapping) else one for one in value]
    return all(isinstance(one.get("name"), str) and isinstance(one.get("parameters"), Mapping | str) for one in schemas)


def _naming(column: str, part: str, read: Collection[str]) -> str:
    """The setting that names the right column, where one can."""
    if part == "system":
        return f"name the system turn's column (data.system_feature: {column}), or "
    if part == "prompt":
        prompts = sorted(other for other in read if looks_like(other) == "prompt")
        return (
            f"name the prompt's column (data.prompt_feature: {prompts[0]} or {column}), or "
            if len(prompts) == 1
            else ""
        )
    sides = named_sides(read)
    if sides is None:
        return ""
    return f"name the sides' columns (data.chosen_feature: {sides[0]}, data.rejected_feature: {sides[1]}), or "


def texts_of(pair: Pair) -> list[str]:
    """What a pair says, with single spaces."""
    return [text for side in (pair.prompt, pair.chosen, pair.rejected) for text in _texts(side)]


def says_again(value: Any, texts: Sequence[str]) -> bool:
    """Whether all that `value` says was read, or it is the whole row: a text that holds several of what was read."""
    value = as_chat(value)
    if repeats(value, texts):
        return True
    said = [text for text in user_texts(value) if text]
    return bool(said) and all(sum(len(one) > 0 and one in text for one in texts) > 1 for text in said)


def _texts(side: Text) -> list[str]:
    if isinstance(side, str):
        return [squeezed(side)]
    return [squeezed(content_text(message)) for message in side]


def _is_among(answer: str, texts: Sequence[str]) -> bool:
    said = squeezed(answer)
    return any(said == text or (len(said) >= LEAST and said in text) for text in texts)
