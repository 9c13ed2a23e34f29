"""What prefd says as JSON: one schema number for all of it, and numbers that JSON has."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

SCHEMA = 1
"""The `schema` of every document of `--json` and of a hook's input. A field may be added under the same number; one that is
taken away or changes its meaning makes it the next."""


def document(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` behind their schema's number; NaN and infinities, which JSON has not, are null."""
    made = {"schema": SCHEMA, **finite(dict(fields))}
    assert isinstance(made, dict)
    return made


def compact(value: Any) -> bytes:
    """`value` as JSON on one line, in UTF-8; NaN and infinities are null."""
    text = json.dumps(finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")  # half of a surrogate pair, from a file's name, as JSON writes it


def finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
