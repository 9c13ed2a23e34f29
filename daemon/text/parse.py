"""Parses spec text to plain values: YAML 1.2, TOML or JSON, with every bound checked before it could hurt.

The parsers' own loaders are not enough: YAML aliases expand without limit, `json` keeps the last of two equal keys and
takes NaN, `tomllib` needs memory quadratic in a dotted key's length, and each of them recurses. So size, depth and
node count are bounded here. YAML is built from ruamel's events rather than by its loader: one pass, no aliases or tags,
exactly the core schema (`1e-5` is a number, `no` and `2024-01-01` are text), and the line of every key is known.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable
from typing import Any

from prefd.daemon.text.decoding import decode_text
from prefd.daemon.text.parsed import (
    CUT_SHORT_HINT,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NODES,
    Parsed,
    ParseError,
    suspect_cut_file,
)
from prefd.daemon.text.parser_remedies import BACKSLASH, explain_failure, explain_root
from prefd.daemon.text.pasted_text import explain_start
from prefd.daemon.text.wording import Path, clip, format_path, name_type, summarize_error

MAX_DOTS = 2_000
MAX_INTEGER = 2**63
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""What moves a terminal's cursor, changes its colours, or ends a C string; tabs and line ends are text."""


def parse(data: bytes, suffix: str) -> Parsed:
    """Parses the values in `data`. Raises ParseError, and nothing else."""
    if len(data) > MAX_BYTES:
        raise ParseError(f"larger than {MAX_BYTES // 1024} KiB: not a job spec")
    text = decode_text(data)
    if not text.strip():
        raise ParseError("the file is empty: a spec needs at least `model` and `data.path`")
    if problem := explain_start(text):
        raise ParseError(problem)
    parsed = _parse_text(text, suffix)
    if not isinstance(parsed.value, dict):
        expected = f"expected `key: value` lines at the top, got {name_type(parsed.value)}"
        raise ParseError(explain_root(expected, text))
    return parsed


def _parse_text(text: str, suffix: str) -> Parsed:
    """Parses the values in `text`, within bounds. Raises ParseError, and nothing else."""
    try:
        parsed = PARSERS[suffix](text)
        _check_tree(parsed.value)
    except ParseError as error:
        raise ParseError(explain_failure(str(error), text, suffix)) from None
    except RecursionError:
        raise ParseError(f"nested deeper than {MAX_DEPTH} levels") from None
    except Exception as error:  # noqa: BLE001  # a parser's own fault on hostile text must not be the daemon's
        raise ParseError(f"cannot be read as {suffix.lstrip('.')}: {summarize_error(error)}") from None
    return parsed


def _check_tree(root: Any) -> None:
    """Refuses depth, size, numbers and characters that no spec can hold."""
    pending: list[tuple[Path, Any]] = [((), root)]
    count = 0
    while pending:
        path, value = pending.pop()
        count += 1
        if count > MAX_NODES:
            raise ParseError(f"more than {MAX_NODES} values: not a job spec")
        for text in (value, *path[-1:]):
            if isinstance(text, str):
                _check_text(path, text)
        if len(path) > MAX_DEPTH:
            raise ParseError(f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            pending += [((*path, key), each) for key, each in value.items()]
        elif isinstance(value, list):
            pending += [((*path, index), each) for index, each in enumerate(value)]
        else:
            _check_number(path, value)


def _check_number(path: Path, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ParseError(f"{format_path(path)}: expected a finite number, got {value}")
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        raise ParseError(f"{format_path(path)}: the number is too large")


def _check_text(path: Path, text: str) -> None:
    if match := CONTROL.search(text):
        remedy = f"; {BACKSLASH}" if match[0] in "\a\b\v\f\x1b" else ""
        raise ParseError(f"{format_path(path)}: a control character ({match[0]!a}) is not text{remedy}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ParseError(f"{format_path(path)}: half of a surrogate pair (\\ud800 to \\udfff) is not text") from None


def _parse_json(text: str) -> Parsed:
    try:
        value = json.loads(
            text, object_pairs_hook=_refuse_duplicate_keys, parse_int=_parse_integer, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        cut = CUT_SHORT_HINT if error.msg.startswith("Unterminated") else suspect_cut_file(error.pos, text)
        raise ParseError(f"line {error.lineno}, column {error.colno}: {error.msg}{cut}") from None
    return Parsed(value)


def _refuse_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ParseError(f"the key {clip(key)!r} is given twice")
        values[key] = value
    return values


def _parse_integer(digits: str) -> int:
    if len(digits) > 20:
        raise ParseError(f"the number {clip(digits, 20)} is too large")
    return int(digits)


def _refuse_constant(name: str) -> Any:
    raise ParseError(f"{name} is not a number a spec can hold")


TOML_TEXT = re.compile(
    r""""{3}(?:\\.|[^\\])*?(?:"{3,5}|\Z)|'{3}.*?(?:'{3,5}|\Z)|"(?:\\.|[^"\\\n])*"?|'[^'\n]*'?|\#[^\n]*""", re.DOTALL
)
TOML_KEY = re.compile(r"[\w-]+(?:[ \t]*\.[ \t]*[\w-]+)*")


def _parse_toml(text: str) -> Parsed:
    if "\n" not in text:
        text = text.replace("\r", "\n")  # an old Mac's lines, which YAML and JSON take
    dots = [key.count(".") for key in TOML_KEY.findall(TOML_TEXT.sub("_", text))]
    if max(dots, default=0) > MAX_DEPTH or sum(dots) > MAX_DOTS:
        raise ParseError(f"nested deeper than {MAX_DEPTH} levels, or more dotted keys than a spec has")
    try:
        return Parsed(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        message = summarize_error(error)
        cut = "end of document" in message and "overwrite" not in message
        raise ParseError(message + (CUT_SHORT_HINT if cut else "")) from None


def _parse_yaml(text: str) -> Parsed:
    from prefd.daemon.text.yaml import parse_yaml  # here: `prefd status` reads no spec, and ruamel takes 50 ms

    return parse_yaml(text)


PARSERS: dict[str, Callable[[str], Parsed]] = {
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".toml": _parse_toml,
    ".json": _parse_json,
}
