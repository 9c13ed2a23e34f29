"""PipeConsole prints into a pipe or a file, where lines end with their text."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console

PADDING = re.compile(r"[ ]+$", re.MULTILINE)


class PipeConsole(Console):
    """PipeConsole prints without the blanks that a table's last column is filled with."""

    def print(self, *objects: Any, **settings: Any) -> None:
        """Prints as rich's console does, and flushes."""
        with self.capture() as capture:
            super().print(*objects, **settings)
        self.file.write(PADDING.sub("", capture.get()))
        self.file.flush()
