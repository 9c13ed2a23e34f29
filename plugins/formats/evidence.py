"""Decides, by what a whole dataset shows of it, whether a key without a value is a table's padding or a null that was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from prefd.plugins.formats.nulls import NOTHING, SCHEMAS, Key, Unsure, keys_of
from prefd.plugins.types import Pair

NULLABLE = frozenset(["default", "const", "example", "examples"])
"""The keywords of a schema that null can be the value of."""
BY_NAME = frozenset(["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"])
"""Keywords whose own keys are names."""


class Evidence(NamedTuple):
    """Evidence holds what all rows of a dataset together show about their unsure keys."""

    keys_with_value: frozenset[Key]
    """Those that have a value in any row."""
    holders: frozenset[Key]
    """Those that hold other keys in any row."""

    @classmethod
    def collect(cls, pairs: Iterable[Pair]) -> Evidence:
        """Collects the evidence of a dataset's pairs."""
        keys_with_value, holders = set[Key](), set[Key]()
        for pair in pairs:
            for key, value in keys_of(pair):
                if isinstance(value, Mapping | list):
                    holders.add(key)
                if value is not None and not isinstance(value, Unsure):
                    keys_with_value.add(key)
        return cls(frozenset(keys_with_value), frozenset(holders))

    def decide(self, tools: Sequence[Mapping[str, Any]] | None, key: Key, value: Unsure) -> Any:
        """Decides one key of a row with these `tools`.

        Gives `NOTHING` where it is padding, None where it is null, else `value`.
        """
        if key.part == "schema":
            if not _may_be_null(key.path):
                return NOTHING
            return None if value.is_never_given and self._is_alone(key) else value
        property_names = _properties(tools, key)
        if property_names is not None:
            return value if key.path[-1] in property_names else NOTHING
        is_key_of_other_function = any(
            other.part == key.part and other.path == key.path for other in self.keys_with_value
        )
        return NOTHING if is_key_of_other_function and key not in self.keys_with_value else value

    def _is_alone(self, key: Key) -> bool:
        """Says whether no other function has anything at the place where `key` stands: then this one has its null."""
        above = key.path[:-1]
        holders = {holder.function for holder in self.holders if holder.part == key.part and holder.path == above}
        return holders == {key.function}


def _may_be_null(path: Sequence[str]) -> bool:
    """Says whether the key at the end of `path` through a JSON schema can be null: all below `default` can."""
    is_name = False
    for key in path:
        if is_name:
            is_name = False
        elif key in NULLABLE:
            return True
        else:
            is_name = key in BY_NAME
    return False


def _properties(tools: Sequence[Mapping[str, Any]] | None, key: Key) -> set[str] | None:
    """The names that a function's own schema has beside `key`; None where it has none."""
    schema: Any = None
    for tool in tools or ():
        function = tool.get("function", tool)
        if isinstance(function, Mapping) and function.get("name") == key.function:
            schema = next((function[name] for name in SCHEMAS if isinstance(function.get(name), Mapping)), None)
    for place, name in enumerate(key.path):
        while isinstance(schema, Mapping) and "properties" not in schema and isinstance(schema.get("items"), Mapping):
            schema = schema["items"]
        properties = schema.get("properties") if isinstance(schema, Mapping) else None
        if not isinstance(properties, Mapping):
            return None
        if place == len(key.path) - 1:
            return {
                property_name
                for property_name, value in properties.items()
                if value is not None and not isinstance(value, Unsure)
            }
        schema = properties.get(name)
    return None
