"""Reads `{prompt, chosen, rejected}`: the prompt has its own column. Strings or chat messages, also mixed.

The columns may have other names (`names.py`), and a system turn or a history beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prefd.plugins.formats.chats import check_speakers, is_script, is_transcript
from prefd.plugins.formats.contract import Known, columns_of, make_pair, read_known_names, read_usable_row
from prefd.plugins.formats.fields import is_conversation, is_text, read_text
from prefd.plugins.formats.hh import parse
from prefd.plugins.formats.prompt import naming_prompt
from prefd.plugins.formats.row_shape import RowShape
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Pair, RowFormat, UnclearRow, UnusableRow

PRECEDENCE = 60
ROW_SHAPES = (
    RowShape("`prompt`, `chosen`, `rejected`", "the prompt has its own column", "most"),
    RowShape(
        "`question`, `query`, `instruction` (with `input`), `context`, `messages`, `conversations`, `history`, … instead of `prompt`",
        "the prompt, by another name",
        "orca_dpo_pairs, LLaMA-Factory, argilla",
    ),
    RowShape("`system` (`system_prompt`, …) beside any prompt", "a system turn in front", "orca_dpo_pairs, truthy-dpo"),
    RowShape(
        "`history`: messages, or `[[user, assistant], …]`",
        "the turns before the prompt; what the prompt repeats of them is there once",
        "LLaMA-Factory",
    ),
    RowShape(
        "`chosen_response` and `rejected_response`, `preferred` and `dispreferred`, `accepted` and `rejected`, `response` and `rejected_response`, `response_j` and `response_k`, …",
        "the two sides, by names that say which is the better one",
        "argilla, ms-swift, stack-exchange-paired",
    ),
    RowShape(
        "`messages` that end with the chosen answer, `rejected_response`",
        "the two sides, by names that say which is the better one",
        "ms-swift",
    ),
)


class Explicit:
    """Reads rows each of whose sides is the answer alone: a string, or the messages after the prompt.

    Sides that are whole conversations hold the prompt again, whatever the prompt column says: those rows are
    `implicit_messages`.
    """

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Says whether `row` has a prompt and two sides that are answers alone."""
        known_row = read_known_names(row)
        return (
            known_row is not None
            and known_row.has_prompt
            and (known_row.problem is not None or is_text(known_row.values["prompt"]))
            and all(is_text(side) and not is_conversation(side) for side in _sides(known_row.values))
        )

    def pair(self, row: Mapping[str, Any]) -> Pair:
        """Makes the pair of `row`. Raises `UnusableRow`."""
        return pair_of(row, read_usable_row(row))

    def columns(self, row: Mapping[str, Any]) -> frozenset[str]:
        """Names the columns of `row` that its pair is made of."""
        return columns_of(row)


def pair_of(row: Mapping[str, Any], known_row: Known) -> Pair:
    """Makes the pair of a row that has this shape. Raises `UnusableRow`."""
    whole_sides = [side for side in ("chosen", "rejected") if is_conversation(known_row.values[side])]
    if known_row.values["prompt"] is None and len(whole_sides) == 1:
        raise UnusableRow(
            f"only {whole_sides[0]} is a whole conversation, and no column is the prompt: write the prompt's messages into "
            "both sides, or into a column 'prompt'"
        )
    if known_row.values["prompt"] is None and (naming := naming_prompt(row, known_row.columns)):
        raise UnclearRow(f"no column is known to be the prompt; {naming}")
    chosen, rejected, prompt = (read_text(known_row.values, column) for column in ("chosen", "rejected", "prompt"))
    if is_conversation(chosen) or is_conversation(rejected):
        raise UnusableRow("a side begins before the answer")
    check_speakers(prompt)
    if is_transcript(prompt):  # beside sides that are messages
        prompt = parse(str(prompt))
    if (
        is_script(chosen)
        and is_script(rejected)
        and isinstance(prompt, str)
        and prompt in chosen
        and prompt in rejected
    ):
        raise UnclearRow(
            "both sides are transcripts that hold the prompt; leave its column out (data.ignore_columns: "
            f"[{', '.join(sorted(column for column in row if row[column] == prompt))}]), or write the answers alone"
        )
    return make_pair(row, known_row, prompt, chosen, rejected)


def _sides(values: Mapping[str, Any]) -> tuple[Any, Any]:
    return values["chosen"], values["rejected"]


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    """Registers `explicit`."""
    register("explicit", Explicit())
