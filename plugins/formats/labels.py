"""Keeps the name of a `datasets.ClassLabel` class beside its number, which alone is stored in the table."""

from __future__ import annotations

from typing import Any, Self


class Label(int):
    """Label is the number of a class, with its name."""

    name: str

    def __new__(cls, number: int, name: str) -> Self:
        """Makes the number of the class called `name`."""
        label = super().__new__(cls, number)
        label.name = name
        return label


def label_name(value: Any) -> Any:
    """Gives the name of a class; anything else as it is."""
    return value.name if isinstance(value, Label) else value
