"""Modules of the tests that run as programs of their own, wherever they lie."""

from __future__ import annotations

import os
import sys

from support.paths import SUPPORT


def program(module: str, *arguments: object) -> list[str]:
    """`python -m module arguments`; it has to have `program_environment()`, or SUPPORT's parent as its working folder."""
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


def program_environment(**more: str) -> dict[str, str]:
    """This process's variables, with which the modules of the tests are found, and `more`."""
    return os.environ | {"PYTHONPATH": str(SUPPORT.parent)} | more
