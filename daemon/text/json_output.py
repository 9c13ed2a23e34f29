"""Formats what prefd prints as JSON: one schema number for all of it, and only numbers that JSON has."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

SCHEMA = 1
"""The `schema` of every document of `--json` and of a hook's input. A field may be added under the same number; one that is
taken away or changes its meaning makes it the next."""


def add_schema(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `fields` behind their schema's number; NaN and infinities, which JSON has not, are null."""
    output = {"schema": SCHEMA, **replace_nonfinite(dict(fields))}
    assert isinstance(output, dict)
    return output


def dump_compact(value: Any) -> bytes:
    """Writes `value` as JSON on one line, in UTF-8; NaN and infinities are null."""
    text = json.dumps(replace_nonfinite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")  # half of a surrogate pair, from a file's name, as JSON writes it


def dump_indented(value: Any) -> bytes:
    """Writes `value` as JSON on several lines, in UTF-8."""
    return json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace")


def replace_nonfinite(value: Any) -> Any:
    """Copies `value` with null for each NaN and infinity in it."""
    if isinstance(value, dict):
        return {key: replace_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_nonfinite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
