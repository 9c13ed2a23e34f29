"""Reads from a column's name what it holds: a prompt, a system turn, a side, one of several answers, or none of these.

Only the words of a name are looked at, never their order in a row, so that shuffled columns read the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

PROMPTS = frozenset(
    [
        "prompt",
        "question",
        "query",
        "instruction",
        "instructions",
        "input",
        "inputs",
        "context",
        "history",
        "passage",
        "document",
        "article",
        "paragraph",
        "premise",
        "scenario",
        "story",
        "messages",
        "conversation",
        "conversations",
        "dialogue",
        "dialog",
        "chat",
        "trajectory",
        "post",
        "problem",
        "request",
        "user",
        "human",
        "user_prompt",
        "user_message",
        "user_input",
        "user_query",
        "user_question",
        "user_instruction",
        "human_input",
        "human_question",
        "prompt_text",
        "input_text",
        "question_text",
        "query_text",
        "instruction_text",
        "input_prompt",
        "human_prompt",
    ]
)
"""Names of columns that hold the prompt, or a part of it."""
SYSTEMS = frozenset(["system", "system_prompt", "system_message", "system_instruction", "sys_prompt"])
BETTER = frozenset(["chosen", "preferred", "accepted", "better", "winning"])
WORSE = frozenset(["rejected", "dispreferred", "nonpreferred", "unpreferred", "notpreferred", "worse", "losing"])
ANSWERS = frozenset(["response", "answer", "output", "completion", "reply", "continuation", "generation", "summary"])
"""Words for an answer; alone they do not say which of two it is."""
CHATS = frozenset(["conversation", "messages", "message", "dialogue", "text"])
LISTS = frozenset(
    ["responses", "answers", "outputs", "completions", "replies", "generations", "summaries", "candidates"]
)
SCORES = [
    "score",
    "overall_score",
    "rating",
    "overall_rating",
    "avg_rating",
    "reward",
    "pm_score",
    "helpfulness",
    "quality",
    "scores",
    "ratings",
    "rewards",
    "overall_scores",
    "rm_scores",
]
"""Names of an answer's score, higher is better; of several that agree the first is taken."""
RANKS = frozenset(["rank", "ranks"])
"""Names of an answer's place, 1 is the best."""
GOOD = frozenset(
    [
        "avg",
        "average",
        "mean",
        "overall",
        "final",
        "total",
        "rm",
        "pm",
        "reward",
        "model",
        "gpt",
        "llm",
        "judge",
        "meta",
        "human",
        "annotator",
        "helpfulness",
        "helpful",
        "quality",
        "correctness",
        "preference",
    ]
)
"""Words before a score's name with which it still is better the higher it is."""
LOW = frozenset(
    [
        "toxicity",
        "toxic",
        "harm",
        "harmful",
        "harmfulness",
        "loss",
        "losses",
        "nll",
        "perplexity",
        "ppl",
        "error",
        "errors",
        "severity",
        "refusal",
        "refusals",
        "bad",
        "badness",
        "worse",
        "hallucination",
        "hallucinations",
        "risk",
        "unsafe",
        "violation",
        "violations",
        "penalty",
        "penalties",
        "cost",
        "costs",
        "distance",
        "wer",
        "cer",
        "mse",
        "rmse",
        "mae",
        "bias",
        "kl",
        "negative",
        "incorrectness",
        "insult",
        "profanity",
        "threat",
        "obscenity",
        "spam",
        "repetition",
        "mistake",
        "mistakes",
        "fault",
        "faults",
        "danger",
        "uncertainty",
    ]
)
"""Words of numbers that are better the lower they are."""
LESS = frozenset(["less", "least", "low", "lower", "lowest", "fewer", "fewest", "non", "not"])
"""Words that turn round what the others of a name say."""
LOSERS = WORSE | frozenset(
    ["loser", "losers", "lost", "lose", "loses", "loosing", "worst", "bad", "wrong", "incorrect", "unsafe", "harmful"]
)
"""Words of a column that says which answer is the worse one."""
MEDIA = frozenset(["image", "images", "audio", "audios", "video", "videos", "pixel_values"])
METADATA = frozenset(
    [
        "id",
        "ids",
        "idx",
        "index",
        "uuid",
        "guid",
        "hash",
        "source",
        "sources",
        "dataset",
        "subset",
        "split",
        "model",
        "models",
        "score",
        "scores",
        "rating",
        "ratings",
        "rank",
        "ranks",
        "reward",
        "rewards",
        "label",
        "labels",
        "category",
        "type",
        "lang",
        "language",
        "domain",
        "topic",
        "tag",
        "tags",
        "date",
        "time",
        "timestamp",
        "tstamp",
        "url",
        "link",
        "author",
        "worker",
        "annotator",
        "annotations",
        "batch",
        "version",
        "license",
        "length",
        "len",
        "tokens",
        "num",
        "count",
        "metadata",
        "meta",
        "difficulty",
        "level",
        "judge",
        "status",
        "order",
        "policy",
        "policies",
        "generator",
        "confidence",
        "margin",
        "quality",
        "subreddit",
        "turn",
        "turns",
        "origin",
        "key",
        "extra",
        "strength",
        "preference",
        "helpfulness",
        "correctness",
        "coherence",
        "complexity",
        "verbosity",
    ]
)
"""Words of names whose columns are about the row: they are listed where nobody reads them, and hinder nothing."""


ORDINALS = {"first": "1", "second": "2", "third": "3", "one": "1", "two": "2", "three": "3"}


@lru_cache(maxsize=4096)
def words_of(column: str) -> tuple[str, ...]:
    """Splits a name into its words, in lower case: `human_ref_A`, `responseA` and `response-1` have three, two and two."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column).lower()
    spaced = re.sub(r"\b(non|not)[_\- ]?(?=preferred)", r"\1", spaced)
    return tuple(re.findall(r"[^\W\d_]+|\d+", spaced))


def key_of(column: str) -> str:
    """Joins the words of a name: `key_of("responseA")` is `response_a`."""
    return "_".join(words_of(column))


def is_metadata(column: str) -> bool:
    """Says whether any word of a name is one of `METADATA`."""
    return not METADATA.isdisjoint(words_of(column))


def side_of(column: str) -> str | None:
    """Gives `chosen` or `rejected` where the name says which side it is, `answer` where it is one of them, else None."""
    words = words_of(column)
    other_words = [word for word in words if word not in ANSWERS and word not in CHATS]
    if len(other_words) == 1 and len(words) <= 2:
        return "chosen" if other_words[0] in BETTER else "rejected" if other_words[0] in WORSE else None
    return "answer" if len(words) == 1 and words[0] in ANSWERS else None


class Numbered(NamedTuple):
    """A column that is one of several alike.

    `human_ref_A` is `a` of `human_ref`; `first_response` and `response_01` are `1` of `response`.
    """

    base: tuple[str, ...]
    mark: str


def numbered(column: str) -> Numbered | None:
    """Reads a name that has one mark, as `response_1`; None for any other name."""
    words = [ORDINALS.get(word, word) for word in words_of(column)]
    places = [place for place, word in enumerate(words) if len(word) == 1 or word.isdigit()]
    if not places or len(words) == 1 or (len(places) > 1 and places[-1] != len(words) - 1):
        return None
    base = (*words[: places[-1]], *words[places[-1] + 1 :])
    mark = words[places[-1]]
    return Numbered(base, str(int(mark)) if mark.isdecimal() else mark)


def is_answer_base(base: tuple[str, ...]) -> bool:
    """Says whether numbered columns of this name are answers (`response`, `conversation`), not what is said of them."""
    last = ANSWERS | CHATS | {"ref", "candidate"}
    return base[-1] in last and set(base) <= last | {"model", "assistant", "human", "generated", "ai"}


def numbered_columns(columns: Iterable[str]) -> dict[tuple[str, ...], dict[str, str]]:
    """Groups numbered columns: {name without its mark: {mark: column}}, the marks in order.

    Names that have a mark twice are left out.
    """
    marks_of: dict[tuple[str, ...], dict[str, str]] = {}
    repeated_bases = set()
    for column in sorted(columns):
        if numbered_column := numbered(column):
            marks = marks_of.setdefault(numbered_column.base, {})
            if numbered_column.mark in marks:
                repeated_bases.add(numbered_column.base)
            marks[numbered_column.mark] = column
    return {
        base: {mark: marks[mark] for mark in sorted(marks, key=_order_of)}
        for base, marks in marks_of.items()
        if base not in repeated_bases
    }


def _order_of(mark: str) -> tuple[bool, int, str]:
    """Numbers by their value (10 behind 9), before letters."""
    return not mark.isdigit(), int(mark) if mark.isdigit() else 0, mark
