"""Holds the error of an adapter folder that cannot be used, and what both kinds of adapter are checked for."""

from __future__ import annotations

import math
from typing import Any

CONFIG = "adapter_config.json"


class AdapterError(ValueError):
    """The folder holds no adapter that can be loaded. The message tells the user what it lacks, and the remedy."""


def is_whole(value: Any) -> bool:
    """Says whether a value of JSON is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Says whether a value of JSON is a number that is finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
