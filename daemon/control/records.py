"""`read_record` makes a dataclass of JSON values, by the types of its fields, and says which field cannot be read.

pydantic would do it, and takes 100 ms to be imported and told of the types of a status: half of what `prefd status` may take.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
PLAIN: Mapping[type, tuple[type, ...]] = {float: (float, int), int: (int,), str: (str,), bool: (bool,)}
"""The JSON values that may stand for a value of a plain type."""


class RecordError(ValueError):
    """A value is not what its field holds. `place` is the field, dotted."""

    def __init__(self, place: str) -> None:
        super().__init__(f"no {place} that can be read")
        self.place = place


def read_record(kind: type[T], document: Any, place: str = "") -> T:
    """Makes a `kind`, a dataclass, of a JSON object. Fields that it does not know are passed over. Raises RecordError."""
    if not isinstance(document, Mapping):
        raise RecordError(place)
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # `kind` is a dataclass
        name = f"{place}.{field.name}".lstrip(".")
        if field.name in document:
            values[field.name] = read_value(hints[field.name], document[field.name], name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise RecordError(name)
    return kind(**values)


def read_value(hint: Any, value: Any, place: str) -> Any:
    """Makes what a type says of one JSON value. Raises RecordError."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _read_union(parts, value, place)
    if dataclasses.is_dataclass(hint):
        return read_record(typing.cast(type, hint), value, place)
    if origin is typing.Literal and value in parts:
        return value
    if origin in (list, tuple, Sequence) and isinstance(value, list | tuple):
        return _read_items(origin, parts, value, place)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {
            read_value(parts[0], key, f"{place}.{key}"): read_value(parts[1], each, f"{place}.{key}")
            for key, each in value.items()
        }
    if type(value) in PLAIN.get(hint, ()) or (hint is type(None) and value is None):
        return value
    raise RecordError(place)


def _read_union(kinds: Sequence[Any], value: Any, place: str) -> Any:
    """Reads a value that may be of several types as the first that it can be."""
    for kind in kinds:
        try:
            return read_value(kind, value, place)
        except RecordError:
            continue
    raise RecordError(place)


def _read_items(origin: Any, parts: Sequence[Any], items: Sequence[Any], place: str) -> Any:
    """Reads a list, or a tuple of a fixed length or of any."""
    is_fixed = origin is tuple and parts[-1] is not Ellipsis
    if is_fixed and len(items) != len(parts):
        raise RecordError(place)
    kinds = parts if is_fixed else [parts[0]] * len(items)
    read = [read_value(kind, each, f"{place}.{index}") for index, (kind, each) in enumerate(zip(kinds, items))]
    return tuple(read) if origin is tuple else read
