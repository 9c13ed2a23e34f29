"""RegisteredReporter is a reporter under its name, with what it says of itself: the daemon, which imports no plugin, reads it as JSON."""

from __future__ import annotations

import importlib.util
import inspect
import re
from dataclasses import dataclass
from typing import Any

from prefd.plugins.errors import PluginError
from prefd.plugins.reporting import RunReporter

NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
"""A reporter's name is that of a folder too."""


class ReporterDefinitionError(PluginError, TypeError):
    """ReporterDefinitionError is raised for a reporter that cannot be registered. The message tells its author what to change."""


@dataclass(frozen=True)
class RegisteredReporter:
    """RegisteredReporter is a reporter that a plugin has registered under a name."""

    name: str
    reporter: RunReporter
    plugin: str
    summary: str
    library: str = ""
    install: str = ""

    @classmethod
    def check(cls, name: str, reporter: RunReporter, plugin: str) -> RegisteredReporter:
        """Reads what a reporter says of itself. Raises `ReporterDefinitionError` for one that is none."""
        if not NAME.fullmatch(name):
            raise ReporterDefinitionError(
                f"reporter {name!r}: a name has at most 40 small letters, digits, - and _, and begins with a letter"
            )
        if isinstance(reporter, type) or not callable(getattr(reporter, "open", None)):
            raise ReporterDefinitionError(
                f"reporter {name!r} must be an object with a method open(run), got {reporter!r}"
            )
        summary = (inspect.getdoc(type(reporter)) or "").partition("\n")[0]
        if not summary:
            raise ReporterDefinitionError(f"reporter {name!r} needs a docstring: `prefd plugins` shows its first line")
        library, install = (str(getattr(reporter, word, "")) for word in ("library", "install"))
        return cls(name, reporter, plugin, summary, library, install or library)

    def find_missing(self) -> str | None:
        """Says what to install for it; None where nothing is missing. The library is not imported."""
        if not self.library:
            return None
        try:
            is_installed = importlib.util.find_spec(self.library) is not None
        except (ImportError, ValueError):
            is_installed = False
        return (
            None
            if is_installed
            else f"it needs the library {self.library}, which is not installed: pip install '{self.install}'"
        )

    def to_json(self) -> dict[str, Any]:
        """Returns what the daemon keeps of it."""
        return {"summary": self.summary, "plugin": self.plugin, "missing": self.find_missing()}
