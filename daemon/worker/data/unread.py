"""Checks the columns that nobody read: one that may be a prompt, a system turn or an answer must repeat what was read.

Such a column must repeat what was read. Where it says something else, a row is not what its reader takes it for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.questions import COMMENTS
from prefd.plugins.formats.chats import as_chat, squeeze_blanks, user_texts
from prefd.plugins.formats.fields import content_text, is_messages, is_text
from prefd.plugins.formats.names import (
    ANSWERS,
    BETTER,
    CHATS,
    LISTS,
    PROMPTS,
    SYSTEMS,
    WORSE,
    key_of,
    side_of,
    words_of,
)
from prefd.plugins.formats.numbering import is_answer_base, numbered
from prefd.plugins.formats.prompt import LEAST, answer_text, is_about, is_blank, repeats
from prefd.plugins.formats.sides import KNOWN, named_sides
from prefd.plugins.formats.verdicts import is_verdict
from prefd.plugins.types import Pair, Text, UnclearRow

WORDS = 3
"""From how many words on a column as `winner` is taken for an answer."""
PERSONAS = frozenset(
    [
        "persona",
        "preamble",
        "character",
        "system_text",
        "system_context",
        "sys",
        "developer",
        "developer_message",
        "developer_prompt",
        "preprompt",
        "pre_prompt",
        "assistant_persona",
        "bot_persona",
        "role_play",
        "roleplay",
    ]
)
"""Names that are no certain system turn, and no metadata either."""
OF_SYSTEM = PROMPTS | CHATS | {"model", "llm", "ai", "assistant", "bot", "content", "turn", "base", "default", "custom"}
"""Words beside `system` in names of its turn, in any order: `instruction_system`, `prompt_system`, `model_system_prompt`."""
AS_SYSTEM = re.compile(r"\s*(You are|You're|Act as|Pretend (to be|you)|As an? (AI|assistant))\b")
"""How system turns begin, whatever their column is called."""
JUDGES = frozenset(
    ["judge", "annotator", "rater", "grader", "critic", "reward", "eval", "judgement", "judgment", "evaluation"]
)
"""Words of names of what is said to those who judge answers."""
PERSONA = frozenset(["persona", "system", "sys", "character", "preamble", "preprompt", "role"])
"""Words of names that tell of a system turn, also beside words of metadata: `persona_note`, `model_persona`."""
ABOUT_ANSWERS = COMMENTS | JUDGES
"""Words of names of what is said of answers, or to those who judge them."""
TOOL_NAMES = frozenset(
    [
        "tool",
        "tools",
        "function",
        "functions",
        "api",
        "apis",
        "available",
        "list",
        "schema",
        "schemas",
        "definition",
        "definitions",
        "json",
    ]
)
MORE = frozenset(
    ["alt", "alternative", "other", "another", "second", "third", "extra", "more", "additional", "further"]
)
"""Words of the names of further answers on one side."""
KINDS = {"prompt": "a prompt", "turns": "turns before the prompt", "system": "a system turn", "answer": "an answer"}


def guess_part(column: str) -> str | None:
    """Guesses from its name what a column holds.

    `prompt`, `turns` before it, `system`, `answer`, `verdict` (a word or an answer) or None.
    """
    key = key_of(column)
    if key in PROMPTS:
        return "prompt"
    if words_of(column)[-1:] == ("history",) and not is_about(column):
        return "turns"
    if key in SYSTEMS | PERSONAS or (key.rpartition("_")[0] in SYSTEMS and not is_about(column)):
        return "system"
    if "system" in words_of(column) and set(words_of(column)) <= {"system"} | OF_SYSTEM:
        return "system"
    if any(key in pair for pair in KNOWN):
        return "answer"
    numbered_column = numbered(column)
    if is_verdict(column) and side_of(column) is None:
        return "verdict"
    return (
        "answer" if side_of(column) or (numbered_column is not None and is_answer_base(numbered_column.base)) else None
    )


def guess_by_value(column: str, rows: Collection[Mapping[str, Any]]) -> str | None:
    """Guesses from what a column of no telling name holds: the words of a system turn, chat messages, or more sides."""
    words = words_of(column)
    sides = [word for word in words if word in BETTER | WORSE]
    if len(sides) == 1 and set(words) - set(sides) <= ANSWERS | CHATS | LISTS | MORE | {
        word for word in words if word.isdigit()
    }:
        return "answer"
    values = [value for row in rows if not is_blank(value := as_chat(row.get(column)))]
    is_judges = not JUDGES.isdisjoint(words)
    is_persona = not is_judges and not PERSONA.isdisjoint(words)
    if (is_about(column) or not ABOUT_ANSWERS.isdisjoint(words) or is_judges) and not is_persona:
        return None
    if values and all(isinstance(value, str) and AS_SYSTEM.match(value) for value in values):
        return "system"
    return "turns" if values and all(is_messages(value) for value in values) else None


def find_settled_parts(spec: DataSpec) -> set[str]:
    """Finds the parts whose columns the spec names, so that no other column can be them."""
    features_by_part: dict[str, list[str | list[str]]] = {
        "prompt": [spec.prompt_feature],
        "turns": [spec.prompt_feature],
        "system": [spec.system_feature],
        "answer": [spec.chosen_feature, spec.rejected_feature],
        "verdict": [spec.chosen_feature, spec.rejected_feature],
    }
    return {part for part, features in features_by_part.items() if all(feature != "auto" for feature in features)}


def check_unread(
    row: Mapping[str, Any], pairs: Sequence[Pair], parts: Mapping[str, str], columns_read: Collection[str]
) -> None:
    """Raises `UnclearRow` for a column of `parts` ({column: what it looks like}) that says what no pair of the row says.

    `read`: the row's columns that its pairs are made of.
    """
    texts = [text for pair in pairs for text in texts_of(pair)]
    for column, part in parts.items():
        value = as_chat(row.get(column))
        if part == "answer" and isinstance(value, list) and all(isinstance(text, str) for text in value):
            value = next((text for text in value if not _is_among(text, texts)), value[0] if value else None)
        if column in columns_read or is_blank(value) or (part in ("answer", "verdict") and not is_text(value)):
            continue
        if part == "verdict":
            if len(answer_text(value).split()) < WORDS:
                continue  # who won, of answers that are read by their own names
            part = "answer"
        if not (_is_among(answer_text(value), texts) if part == "answer" else repeats(value, texts)):
            raise UnclearRow(
                f"the column {column!r} looks like {KINDS[part]} and says something else than what was read; "
                f"{_naming(column, part, columns_read)}leave it out (data.ignore_columns: [{column}])"
            )


def check_tools(row: Mapping[str, Any], columns_read: Collection[str], ignored_columns: Collection[str]) -> None:
    """Raises `UnclearRow` for a column that holds tools, as `functions` may, where the row has none by that name."""
    for column, value in row.items():
        is_unread = column not in columns_read and column not in ignored_columns
        if is_unread and (_are_tools(value) or _names_tools(column, value)) and is_blank(row.get("tools")):
            raise UnclearRow(
                f"the column {column!r} looks like tools and is not read; call it 'tools', or leave it out "
                f"(data.ignore_columns: [{column}])"
            )


def _names_tools(column: str, value: Any) -> bool:
    """Says whether a column is called as a list of tools is, and holds something."""
    words = set(words_of(column))
    is_list = not words.isdisjoint(("tools", "functions", "apis")) or (
        len(words) > 1 and bool(words & {"tool", "function", "api"})
    )
    return is_list and words <= TOOL_NAMES and not is_blank(value) and not isinstance(value, bool | int | float)


def _are_tools(value: Any) -> bool:
    """Says whether it is the schemas of functions that a model may call, or the JSON text of them."""
    if isinstance(value, str) and value.lstrip().startswith("[") and '"name"' in value:
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return False
    if not isinstance(value, list | tuple) or not value or not all(isinstance(tool, Mapping) for tool in value):
        return False
    schemas = [tool["function"] if isinstance(tool.get("function"), Mapping) else tool for tool in value]
    return all(
        isinstance(schema.get("name"), str) and isinstance(schema.get("parameters"), Mapping | str)
        for schema in schemas
    )


def _naming(column: str, part: str, columns_read: Collection[str]) -> str:
    """The setting that names the right column, where one can."""
    if part == "system":
        return f"name the system turn's column (data.system_feature: {column}), or "
    if part == "turns":
        return "where they are, call the column 'history', or "
    if part == "prompt":
        prompts = sorted(other for other in columns_read if guess_part(other) == "prompt")
        return (
            f"name the prompt's column (data.prompt_feature: {prompts[0]} or {column}), or "
            if len(prompts) == 1
            else ""
        )
    sides = named_sides(columns_read)
    if sides is None:
        return ""
    return f"name the sides' columns (data.chosen_feature: {sides[0]}, data.rejected_feature: {sides[1]}), or "


def texts_of(pair: Pair) -> list[str]:
    """Lists the texts of a pair, with single spaces."""
    return [text for side in (pair.prompt, pair.chosen, pair.rejected) for text in _texts(side)]


def is_already_read(value: Any, texts: Sequence[str]) -> bool:
    """Says whether all of `value` is in `texts`, or it is the whole row: a text that holds several of them."""
    value = as_chat(value)
    if repeats(value, texts):
        return True
    passages = [text for text in user_texts(value) if text]
    return bool(passages) and all(
        sum(len(text_read) > 0 and text_read in text for text_read in texts) > 1 for text in passages
    )


def _texts(side: Text) -> list[str]:
    if isinstance(side, str):
        return [squeeze_blanks(side)]
    return [squeeze_blanks(content_text(message)) for message in side]


def _is_among(answer: str, texts: Sequence[str]) -> bool:
    squeezed_answer = squeeze_blanks(answer)
    return any(squeezed_answer == text or (len(squeezed_answer) >= LEAST and squeezed_answer in text) for text in texts)
