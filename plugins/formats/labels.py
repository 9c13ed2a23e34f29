"""Classes of `datasets.ClassLabel` columns, which are stored as numbers: what a number stands for is in the table's features."""

from __future__ import annotations

from typing import Any, Self


class Label(int):
    """The number of a class, with its name."""

    name: str

    def __new__(cls, number: int, name: str) -> Self:
        made = super().__new__(cls, number)
        made.name = name
        return made


def label_name(value: Any) -> Any:
    """The name of a class; anything else as it is."""
    return value.name if isinstance(value, Label) else value
