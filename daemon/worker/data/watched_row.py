"""A row that remembers which columns were looked up: what a format read that does not say it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class WatchedRow(dict[str, Any]):
    """`read` has every column that was looked up; all of them where the row was gone through."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        super().__init__(row)
        self.columns_read: set[str] = set()

    def __getitem__(self, column: str) -> Any:
        self.columns_read.add(column)
        return super().__getitem__(column)

    def get(self, column: str, default: Any = None) -> Any:
        self.columns_read.add(column)
        return super().get(column, default)

    def __iter__(self) -> Iterator[str]:
        self.columns_read |= self.keys()
        return super().__iter__()

    def items(self) -> Any:
        self.columns_read |= self.keys()
        return super().items()

    def values(self) -> Any:
        self.columns_read |= self.keys()
        return super().values()
