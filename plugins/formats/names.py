"""Reads from a column's name what it holds: a prompt, a system turn, a side, or an answer.

Only the words of a name are looked at, never their order in a row, so that shuffled columns read the same.
"""

from __future__ import annotations

import re
from functools import lru_cache

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


@lru_cache(maxsize=4096)
def words_of(column: str) -> tuple[str, ...]:
    """Splits a name into its words, in lower case: `human_ref_A`, `responseA` and `response-1` have three, two and two."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column).lower()
    spaced = re.sub(r"\b(non|not)[_\- ]?(?=preferred)", r"\1", spaced)
    return tuple(re.findall(r"[^\W\d_]+|\d+", spaced))


def key_of(column: str) -> str:
    """Joins the words of a name: `key_of("responseA")` is `response_a`."""
    return "_".join(words_of(column))


def side_of(column: str) -> str | None:
    """Gives `chosen` or `rejected` where the name says which side it is, `answer` where it is one of them, else None."""
    words = words_of(column)
    other_words = [word for word in words if word not in ANSWERS and word not in CHATS]
    if len(other_words) == 1 and len(words) <= 2:
        return "chosen" if other_words[0] in BETTER else "rejected" if other_words[0] in WORSE else None
    return "answer" if len(words) == 1 and words[0] in ANSWERS else None
