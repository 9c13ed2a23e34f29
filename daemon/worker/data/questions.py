"""Finds columns that nobody read and that may be a part of the prompt, by what they hold, where no name tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefd.plugins.formats.chats import as_chat, squeeze_blanks, user_texts
from prefd.plugins.formats.fields import is_messages
from prefd.plugins.formats.implicit_text import is_unspaced
from prefd.plugins.formats.names import ANSWERS, BETTER, LISTS, WORSE, side_of, words_of
from prefd.plugins.formats.numbering import numbered
from prefd.plugins.formats.prompt import SAID, answer_text, is_about
from prefd.plugins.formats.sides import named_sides

CONTEXTS = frozenset(
    [
        "schema",
        "title",
        "body",
        "text",
        "code",
        "background",
        "documents",
        "docs",
        "evidence",
        "description",
        "content",
        "contents",
        "contexts",
        "knowledge",
        "facts",
        "table",
        "tables",
        "excerpt",
        "abstract",
        "report",
        "transcript",
        "email",
        "choices",
        "hint",
        "hints",
        "task",
        "passages",
        "paragraphs",
        "articles",
        "ticket",
        "prefix",
        "suffix",
        "examples",
        "demonstrations",
        "shots",
    ]
)
"""Last words of names of what a question may be about, and cannot be answered without."""
SOURCES = frozenset(
    ["schema", "background", "documents", "docs", "passages", "evidence", "knowledge", "contexts", "facts"]
)
"""Those of them that are nothing else, so that they are asked about also beside messages."""
COMMENTS = frozenset(
    [
        "rationale",
        "reason",
        "explanation",
        "justification",
        "critique",
        "criticism",
        "feedback",
        "comment",
        "comments",
        "note",
        "notes",
        "remark",
        "analysis",
        "judgement",
        "judgment",
        "evaluation",
        "review",
        "labelling",
        "labeling",
        "raw",
        "generation",
        "principle",
        "statement",
        "elaboration",
        "name",
        "solution",
        "target",
        "reference",
        "gold",
        "error",
        "hash",
    ]
)
"""Words of names of what is said of an answer, or of the row."""
WORDS = 3
"""From how many words on a column that is named as metadata is taken for more than that."""
TASK = 2
"""From how many words on a text that all rows share may be their task."""


def may_be_prompt(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """Lists those of `columns` that hold words of their own and may be prompts, though not by their names."""
    return [column for column in columns if _may_be(rows, column)]


def _may_be(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    row_texts = [" | ".join(texts) for row in rows if (texts := _own_texts(row, column))]
    if not row_texts:
        return False
    if is_about(column):
        return _median_words(row_texts) >= WORDS and len(set(row_texts)) >= len(row_texts) / 2
    last_word = words_of(column)[-1:]
    return (
        len(set(row_texts)) > 1
        or len(rows) == 1
        or _median_words(row_texts) >= TASK
        or not (SAID | CONTEXTS).isdisjoint(last_word)
    )


def texts_in(value: Any) -> list[str]:
    """Lists the texts in `value` that are no assistant's and no numbers, also where these are written as text."""
    value = as_chat(value)
    if not is_messages(value) and isinstance(value, Mapping | list | tuple):
        items = value.values() if isinstance(value, Mapping) else value
        return [text for item in items for text in texts_in(item)]
    return [text for text in user_texts(value) if text and not _is_number(text)]


def count_words(text: str) -> int:
    """Counts words, where a letter of a script without spaces counts as half of one."""
    unspaced = sum(map(is_unspaced, text))
    return sum(not all(map(is_unspaced, word)) for word in text.split()) + unspaced // 2


def may_be_context(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """Lists those of `columns` that may belong to the prompt of another: by name, or as they vary as prompts do."""
    return [column for column in columns if _may_belong(rows, column)]


def is_source(column: str) -> bool:
    """Says whether a column's last word names what a question is about, and nothing else."""
    return not SOURCES.isdisjoint(words_of(column)[-1:])


def _may_belong(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    row_texts = [" | ".join(texts) for row in rows if (texts := _own_texts(row, column))]
    words = words_of(column)
    if not row_texts or not words or is_about(column) or side_of(column) or numbered(column):
        return False
    if words[-1] in CONTEXTS:
        return len(set(row_texts)) > 1 or len(rows) == 1 or _median_words(row_texts) >= TASK
    if not (COMMENTS | BETTER | WORSE | ANSWERS | LISTS | {"system", "persona"}).isdisjoint(words):
        return False
    return _median_words(row_texts) >= WORDS and len(set(row_texts)) > len(row_texts) / 2


def _own_texts(row: Mapping[str, Any], column: str) -> list[str]:
    """The texts of a column that are no side, and not what both begin with."""
    value = row.get(column)
    if isinstance(value, list | tuple) and words_of(column)[-1:] and words_of(column)[-1] in LISTS:
        return []
    sides = [squeeze_blanks(answer_text(as_chat(row[side]))) for side in named_sides(row) or ()]
    return [
        text
        for text in texts_in(value)
        if text not in sides and not (sides and all(side.startswith(text) for side in sides))
    ]


def _median_words(row_texts: Sequence[str]) -> int:
    """Gives the median over rows of the words in a row's longest text."""
    return sorted(max(map(count_words, texts.split(" | "))) for texts in row_texts)[len(row_texts) // 2]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
