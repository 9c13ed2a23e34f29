"""Failure ends a command that failed: with a message on stderr, and the error's exit code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

import click

from prefd.daemon.errors import EXPECTED, Exit, PrefdError
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import DISK_TROUBLE
from prefd.daemon.machine.owners import explain_rights, is_refusal
from prefd.daemon.terminal import render

__all__ = ["Exit", "Failure", "explain_error"]


class Failure(click.ClickException):
    """Failure is an error for the user: `message` on stderr, `code` as the exit code."""

    def __init__(self, message: str, code: Exit = Exit.FAILED):
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # click reads it from the instance, and types it as the class's

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints the message to stderr."""
        render.print_labelled("error", "red", self.message)


def explain_error(error: Exception) -> Failure | None:
    """Returns the failure to show for an expected error; None for a bug, which deserves its traceback."""
    if isinstance(error, EXPECTED):
        return Failure(str(error), error.exit_code if isinstance(error, PrefdError) else Exit.FAILED)
    if isinstance(error, OSError) and error.filename is not None:
        return Failure(f"{error.filename}: {error.strerror}{_explain_refusal(error)}")
    if isinstance(error, OSError) and error.errno in DISK_TROUBLE:  # a write or an fsync names no file
        return Failure(f"the disk refuses: {error.strerror}; what was written whole by then stays")
    return None


def _explain_refusal(error: OSError) -> str:
    """Says why a file of the home was refused, as a clause to add; "" for a file elsewhere, which is not prefd's to hand over."""
    context = click.get_current_context(silent=True)
    home = context.find_object(Home) if context is not None else None
    if home is None or not is_refusal(error) or isinstance(error.filename, int):
        return ""
    path = Path(os.fsdecode(error.filename)).absolute()
    return explain_rights(path) if path.is_relative_to(home.root) else ""
