"""Records which columns of a row are looked up, for a format that does not tell which ones it reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class WatchedRow(dict[str, Any]):
    """Records in `columns_read` every column that is looked up; all of them where the row is iterated over."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        super().__init__(row)
        self.columns_read: set[str] = set()

    def __getitem__(self, column: str) -> Any:
        self.columns_read.add(column)
        return super().__getitem__(column)

    def get(self, column: str, default: Any = None) -> Any:
        """Looks a column up, and records it."""
        self.columns_read.add(column)
        return super().get(column, default)

    def __iter__(self) -> Iterator[str]:
        self.columns_read |= self.keys()
        return super().__iter__()

    def items(self) -> Any:
        """Lists all columns with their values, and records them."""
        self.columns_read |= self.keys()
        return super().items()

    def values(self) -> Any:
        """Lists all values, and records their columns."""
        self.columns_read |= self.keys()
        return super().values()
