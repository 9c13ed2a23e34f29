"""Reads openai/summarize_from_feedback: two `summaries` of the post in `info`, and the `choice` between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prefd.plugins.formats.answers import find_answers
from prefd.plugins.formats.ballot import Ballot
from prefd.plugins.formats.compose import compose
from prefd.plugins.formats.outcome import winner_of
from prefd.plugins.formats.prompt import is_about, is_blank
from prefd.plugins.formats.row_shape import RowShape
from prefd.plugins.formats.sides import Sides
from prefd.plugins.formats.verdicts import verdicts
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Pair, RowFormat, UnusableRow

PRECEDENCE = 110
ROW_SHAPES = (RowShape("`info`, `summaries`, `choice`", "the post is the prompt", "summarize_from_feedback"),)
HEADS = {"subreddit": "SUBREDDIT: r/", "title": "TITLE: ", "post": "POST: ", "article": "ARTICLE: "}
"""What the paper's prompts put before each part, in their order."""


class Summaries:
    """Takes the post with its title and subreddit as the prompt, as the paper's models saw it: it ends with `TL;DR:`."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Says whether `row` has a post, its summaries and one column that says which won."""
        info = row.get("info")
        return (
            isinstance(info, Mapping)
            and any(isinstance(info.get(key), str) for key in ("post", "article"))
            and "summaries" in row
            and len(verdicts(row)) == 1
        )

    def pair(self, row: Mapping[str, Any]) -> Pair:
        """Makes the pair of `row`. Raises `UnusableRow`."""
        answers = find_answers({"summaries": row.get("summaries")})
        if answers is None or len(answers.texts) != 2 or not self.matches(row):
            raise UnusableRow("not two summaries of one post")
        if more := [key for key in row["info"] if key not in HEADS and _says_more(key, row["info"])]:
            raise UnusableRow(f"info has {' and '.join(map(repr, more))} beside the post, which would not be read")
        (choice,) = verdicts(row)
        best = winner_of(Ballot(choice, from_zero=True), row, answers)
        sides = Sides(answers.texts[best], answers.texts[1 - best], answers.columns)
        return compose({"prompt": _prompt(row["info"])}, sides)[0]

    def columns(self, row: Mapping[str, Any]) -> frozenset[str]:
        """Names the columns of `row` that its pair is made of."""
        return frozenset(["info", "summaries", *verdicts(row)])


def _says_more(key: str, info: Mapping[str, Any]) -> bool:
    """Says whether a key of `info` holds words that are not about the post."""
    return key != "site" and isinstance(info[key], str) and not is_blank(info[key]) and not is_about(key)


def _prompt(info: Mapping[str, Any]) -> str:
    parts = [
        f"{head}{info[key].strip()}"
        for key, head in HEADS.items()
        if isinstance(info.get(key), str) and info[key].strip()
    ]
    return "\n\n".join([*parts, "TL;DR:"])


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    """Registers `summaries`."""
    register("summaries", Summaries())
