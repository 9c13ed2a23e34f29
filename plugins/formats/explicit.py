"""`{prompt, chosen, rejected}`: the prompt has its own column. Strings or chat messages, also mixed.

The columns may have other names (`names.py`), and a system turn or a history beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prefd.plugins.formats.chats import check_speakers, is_script
from prefd.plugins.formats.contract import Known, columns_of, finished, known, readable
from prefd.plugins.formats.fields import is_conversation, is_text, read_text
from prefd.plugins.formats.prompt import naming_prompt
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Pair, RowFormat, UnclearRow, UnusableRow


class Explicit:
    """Each side is the answer alone: a string, or the messages after the prompt.

    Sides that are whole conversations hold the prompt again, whatever the prompt column says: those rows are
    `implicit_messages`.
    """

    def matches(self, row: Mapping[str, Any]) -> bool:
        found = known(row)
        return (
            found is not None
            and found.has_prompt
            and (found.problem is not None or is_text(found.values["prompt"]))
            and all(is_text(side) and not is_conversation(side) for side in _sides(found.values))
        )

    def pair(self, row: Mapping[str, Any]) -> Pair:
        return pair_of(row, readable(row))

    def columns(self, row: Mapping[str, Any]) -> frozenset[str]:
        return columns_of(row)


def pair_of(row: Mapping[str, Any], found: Known) -> Pair:
    """The pair of a row that was found to have this shape. Raises `UnusableRow`."""
    whole = [side for side in ("chosen", "rejected") if is_conversation(found.values[side])]
    if found.values["prompt"] is None and len(whole) == 1:
        raise UnusableRow(
            f"only {whole[0]} is a whole conversation, and no column is the prompt: write the prompt's messages into both sides, "
            "or into a column 'prompt'"
        )
    if found.values["prompt"] is None and (naming := naming_prompt(row, found.columns)):
        raise UnclearRow(f"no column is known to be the prompt; {naming}")
    chosen, rejected, prompt = (read_text(found.values, column) for column in ("chosen", "rejected", "prompt"))
    if is_conversation(chosen) or is_conversation(rejected):
        raise UnusableRow("a side begins before the answer")
    check_speakers(prompt)
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
    return finished(row, found, prompt, chosen, rejected)


def _sides(values: Mapping[str, Any]) -> tuple[Any, Any]:
    return values["chosen"], values["rejected"]


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    register("explicit", Explicit())
