"""Settles keys without a value in a table's structs, which have null for every key that only other rows have.

In messages, parts, calls and tools such a key is dropped. In a call's arguments and a tool's schema null is a value, and
nobody can tell there whether it was written: it is `Unsure`, until what else the dataset says of the key settles it
(`evidence.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from prefd.plugins.types import Pair, Text

SCHEMAS = ("parameters", "input_schema", "inputSchema", "output_schema", "outputSchema", "returns", "return")
VALUES = ("arguments", *SCHEMAS)
"""Keys beside a `name` under which null is a value."""


class Unsure:
    """Unsure is the value of a key that is null or not there. No two are equal, as nobody knows which they are."""

    def __init__(self, is_never_given: bool = False) -> None:
        self.is_never_given = is_never_given
        """Whether no row of its table has a value there, by the table's own types: then some row has null."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "null or nothing"


NOTHING = object()
"""What is decided of a key that is not there."""
Nulls = Mapping[str, Any]
"""The keys of a struct under which a table has nothing but nulls, as True, or as such a mapping what lies below."""


class Key(NamedTuple):
    """Key is a key in the arguments of calls of a function, or in its schema."""

    part: str
    """`arguments` or `schema`."""
    function: str
    path: tuple[str, ...]
    """Places in lists are left out."""

    def __str__(self) -> str:
        return f"{'.'.join(self.path)!r} in the {self.part} of {self.function}"


Decide = Callable[[Key, Unsure], Any]
"""What becomes of a key that is unsure: a value, the same as before, or `NOTHING`."""


def without_padding(value: Any, nulls: Nulls | None = None) -> Any:
    """Drops each key of `value` that has None, at any depth; below `VALUES` it is marked. Lists keep their items."""
    if isinstance(value, list | tuple):
        return [without_padding(item, nulls) for item in value]
    if not isinstance(value, Mapping):
        return value
    marks = _marks(value)
    return {
        key: (_unsure if key in marks else without_padding)(item, _below(nulls, key))
        for key, item in value.items()
        if item is not None
    }


def _marks(value: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of a call or a tool under which null is a value."""
    return VALUES if isinstance(value.get("name"), str) else ()


def _unsure(value: Any, nulls: Nulls | None = None) -> Any:
    if isinstance(value, list | tuple):
        return [_unsure(item, nulls) for item in value]
    if not isinstance(value, Mapping):
        return value
    never = {key for key in value if nulls and nulls.get(key) is True}
    return {
        key: Unsure(key in never) if item is None else _unsure(item, _below(nulls, key)) for key, item in value.items()
    }


def _below(nulls: Nulls | None, key: str) -> Nulls | None:
    nulls_below = nulls.get(key) if nulls else None
    return nulls_below if isinstance(nulls_below, Mapping) else None


def unsure_keys(pair: Pair) -> list[Key]:
    """Lists the keys of `pair` that are null or not there."""
    return [key for key, value in keys_of(pair) if isinstance(value, Unsure)]


def without_unsure(value: Any) -> Any:
    """Gives `value` without its unsure keys, to compare it by what is certain of it."""
    return _rebuilt(value, "", lambda *_: NOTHING)


def decide_row(row: Mapping[str, Any], decide: Decide) -> dict[str, Any]:
    """Gives `row` with each unsure key in its columns as `decide` has it."""
    return {column: _rebuilt_column(column, value, decide) for column, value in row.items()}


def _rebuilt_column(column: str, value: Any, decide: Decide) -> Any:
    """A column, or a key of an object in one (OpenAI's `input`): its keys are of schemas where it is `tools`."""
    if isinstance(value, Mapping) and column != "tools" and isinstance(value.get("tools"), list):
        return {key: _rebuilt_column(key, item, decide) for key, item in value.items()}
    return _rebuilt(value, "schema" if column == "tools" else "arguments", decide)


def decided(pair: Pair, decide: Decide) -> Pair:
    """Gives `pair` with each unsure key as `decide` has it."""

    def side(text: Text) -> Text:
        return text if isinstance(text, str) else [_rebuilt(message, "arguments", decide) for message in text]

    tools = None if pair.tools is None else [_rebuilt(tool, "schema", decide) for tool in pair.tools]
    return replace(pair, prompt=side(pair.prompt), chosen=side(pair.chosen), rejected=side(pair.rejected), tools=tools)


def keys_of(pair: Pair) -> Iterator[tuple[Key, Any]]:
    """Yields every key in the arguments and schemas of `pair`, with its value."""
    for text in (pair.prompt, pair.chosen, pair.rejected):
        for message in () if isinstance(text, str) else text:
            yield from _keys_in(message, "arguments")
    for tool in pair.tools or ():
        yield from _keys_in(tool, "schema")


def _keys_in(value: Any, part: str) -> Iterator[tuple[Key, Any]]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _keys_in(item, part)
    if not isinstance(value, Mapping):
        return
    marks = _marks(value)
    for name, item in value.items():
        if name in marks:
            yield from _keys_below(item, partial(Key, part, value["name"]), ())
        else:
            yield from _keys_in(item, part)


def _keys_below(
    value: Any, key_at: Callable[[tuple[str, ...]], Key], path: tuple[str, ...]
) -> Iterator[tuple[Key, Any]]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _keys_below(item, key_at, path)
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield key_at((*path, name)), item
            yield from _keys_below(item, key_at, (*path, name))


def _rebuilt(value: Any, part: str, decide: Decide) -> Any:
    if isinstance(value, list | tuple):
        return [_rebuilt(item, part, decide) for item in value]
    if not isinstance(value, Mapping):
        return value
    marks = _marks(value)
    return {
        name: _rebuilt_below(item, partial(Key, part, value["name"]), (), decide)
        if name in marks
        else _rebuilt(item, part, decide)
        for name, item in value.items()
    }


def _rebuilt_below(value: Any, key_at: Callable[[tuple[str, ...]], Key], path: tuple[str, ...], decide: Decide) -> Any:
    if isinstance(value, list | tuple):
        return [_rebuilt_below(item, key_at, path, decide) for item in value]
    if not isinstance(value, Mapping):
        return value
    items = {
        name: decide(key_at((*path, name)), item)
        if isinstance(item, Unsure)
        else _rebuilt_below(item, key_at, (*path, name), decide)
        for name, item in value.items()
    }
    return {name: item for name, item in items.items() if item is not NOTHING}
