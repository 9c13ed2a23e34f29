"""The scores or ranks of the answers in one row, and which of them to go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prefd.plugins.formats.answers import Answers, as_number
from prefd.plugins.formats.matching import check_agree
from prefd.plugins.formats.names import RANKS, SCORES, key_of, numbered_columns, words_of
from prefd.plugins.types import UnclearRow, UnusableRow


class Scored(NamedTuple):
    """The numbers of the answers under one name."""

    name: str
    values: Sequence[float | None]
    columns: frozenset[str]

    @property
    def is_rank(self) -> bool:
        """Whether lower is better."""
        return words_of(self.name)[-1] in RANKS


def scores_of(row: Mapping[str, Any], answers: Answers) -> list[Scored]:
    """Everything that gives each answer a number."""
    if answers.items:
        (column,) = answers.columns
        keys = sorted({key for item in answers.items for key in item})
        found = [Scored(key, [as_number(item.get(key)) for item in answers.items], frozenset()) for key in keys]
        found = [one._replace(name=f"{column}.{one.name}") for one in found]
    elif answers.names:
        found = [
            Scored(
                "_".join(base), [as_number(row[columns[mark]]) for mark in answers.marks], frozenset(columns.values())
            )
            for base, columns in numbered_columns(row).items()
            if set(answers.marks) <= columns.keys() and frozenset(columns.values()) != answers.columns
        ]
        found = [one for one in found if words_of(one.name)[-1] in (*SCORES, *sorted(RANKS))]
    else:
        lists = {column: row[column] for column in sorted(row) if column not in answers.columns}
        found = [
            Scored(column, [as_number(one) for one in value], frozenset([column]))
            for column, value in lists.items()
            if isinstance(value, list | tuple) and len(value) == len(answers.texts)
        ]
    return [one for one in found if any(value is not None for value in one.values)]


def pick(scored: Sequence[Scored], named: str | None) -> Scored:
    """The scores to go by: those that the spec names, else by their name. Raises `UnclearRow` where none is known."""
    names = {_own_name(one.name): one for one in scored}
    if named is not None:
        key = key_of(named.rpartition(".")[2])
        if key not in names:
            raise UnusableRow(f"no answer has a number in {named!r}")
        if is_order(key):
            raise UnclearRow(f"{named} may be places or an order; where 1 is the best answer's, call it 'ranks'")
        return names[key]
    exact = [name for name in (*SCORES, *sorted(RANKS)) if name in names]
    check_agree({name: signed(name, names[name].values) for name in exact})
    known = exact or [name for name in sorted(names) if name.split("_")[-1] in (*SCORES, *sorted(RANKS))]
    if not known or (not exact and len(known) > 1):
        listed = " or ".join(sorted(name for name in names if not is_order(name)))
        if not listed:
            raise UnclearRow(
                f"{' and '.join(sorted(names))} may be places or an order; where 1 is the best answer's, call it 'ranks'"
            )
        raise UnclearRow(f"it is not certain which number is the score; name it (data.score_feature: {listed})")
    return names[known[0]]


def is_order(name: str) -> bool:
    """Whether neither a high nor a low number is certain to be the good one."""
    return not {"ranking", "rankings", "order", "ordering", "position", "positions", "place"}.isdisjoint(words_of(name))


def signed(name: str, values: Sequence[float | None]) -> list[float | None]:
    """`values` so that higher is better."""
    low_is_good = words_of(name)[-1] in RANKS
    return [None if value is None else -value if low_is_good else value for value in values]


def _own_name(name: str) -> str:
    return key_of(name.rpartition(".")[2])


def known_scores(scored: Sequence[Scored]) -> list[Scored]:
    """Those whose names say that they are scores or ranks, the surest first."""
    names = {_own_name(one.name): one for one in scored}
    return [names[name] for name in (*SCORES, *sorted(RANKS)) if name in names]
