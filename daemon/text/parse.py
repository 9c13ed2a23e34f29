"""Spec text to plain values: YAML 1.2, TOML or JSON, with every bound checked before it could hurt.

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

from prefd.daemon.text.parsed import CUT, MAX_BYTES, MAX_DEPTH, MAX_NODES, Parsed, ParseError, cut_short
from prefd.daemon.text.wording import Path, clip, dotted, kind, one_line

MAX_DOTS = 2_000
MAX_INTEGER = 2**63
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""What moves a terminal's cursor, changes its colours, or ends a C string; tabs and line ends are text."""


def parse(data: bytes, suffix: str) -> Parsed:
    """The values in `data`. Raises ParseError, and nothing else."""
    if len(data) > MAX_BYTES:
        raise ParseError(f"larger than {MAX_BYTES // 1024} KiB: not a job spec")
    text = _decode(data)
    if not text.strip():
        raise ParseError("the file is empty: a spec needs at least `model` and `data.path`")
    try:
        parsed = PARSERS[suffix](text)
        _check_tree(parsed.value)
    except ParseError:
        raise
    except RecursionError:
        raise ParseError(f"nested deeper than {MAX_DEPTH} levels") from None
    except Exception as error:  # noqa: BLE001  # a parser's own fault on hostile text must not be the daemon's
        raise ParseError(f"cannot be read as {suffix.lstrip('.')}: {one_line(error)}") from None
    return parsed


def _decode(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ParseError(
            f"not UTF-8 text (byte 0x{data[error.start]:02x} at offset {error.start}): is it a binary file?"
        ) from None
    if (at := text.find("\0")) >= 0:
        raise ParseError(f"a NUL character on line {text.count(chr(10), 0, at) + 1}: is it a binary file?")
    return text


def _check_tree(root: Any) -> None:
    """Depth, size, numbers and characters that no spec can hold, and a mapping at the top."""
    if not isinstance(root, dict):
        raise ParseError(f"expected `key: value` lines at the top, got {kind(root)}")
    waiting: list[tuple[Path, Any]] = [((), root)]
    seen = 0
    while waiting:
        path, value = waiting.pop()
        seen += 1
        if seen > MAX_NODES:
            raise ParseError(f"more than {MAX_NODES} values: not a job spec")
        for text in (value, *path[-1:]):
            if isinstance(text, str):
                _check_text(path, text)
        if len(path) > MAX_DEPTH:
            raise ParseError(f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            waiting += [((*path, key), each) for key, each in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, index), each) for index, each in enumerate(value)]
        else:
            _check_number(path, value)


def _check_number(path: Path, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ParseError(f"{dotted(path)}: expected a finite number, got {value}")
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        raise ParseError(f"{dotted(path)}: the number is too large")


def _check_text(path: Path, text: str) -> None:
    if found := CONTROL.search(text):
        raise ParseError(f"{dotted(path)}: a control character ({found[0]!a}) is not text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ParseError(f"{dotted(path)}: half of a surrogate pair (\\ud800 to \\udfff) is not text") from None


def _json(text: str) -> Parsed:
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_int=_integer, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        cut = CUT if error.msg.startswith("Unterminated") else cut_short(error.pos, text)
        raise ParseError(f"line {error.lineno}, column {error.colno}: {error.msg}{cut}") from None
    return Parsed(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ParseError(f"the key {clip(key)!r} is given twice")
        seen[key] = value
    return seen


def _integer(digits: str) -> int:
    if len(digits) > 20:
        raise ParseError(f"the number {clip(digits, 20)} is too large")
    return int(digits)


def _no_constant(name: str) -> Any:
    raise ParseError(f"{name} is not a number a spec can hold")


TOML_TEXT = re.compile(
    r""""{3}(?:\\.|[^\\])*?(?:"{3,5}|\Z)|'{3}.*?(?:'{3,5}|\Z)|"(?:\\.|[^"\\\n])*"?|'[^'\n]*'?|\#[^\n]*""", re.DOTALL
)
TOML_KEY = re.compile(r"[\w-]+(?:[ \t]*\.[ \t]*[\w-]+)*")


def _toml(text: str) -> Parsed:
    dots = [key.count(".") for key in TOML_KEY.findall(TOML_TEXT.sub("_", text))]
    if max(dots, default=0) > MAX_DEPTH or sum(dots) > MAX_DOTS:
        raise ParseError(f"nested deeper than {MAX_DEPTH} levels, or more dotted keys than a spec has")
    try:
        return Parsed(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        message = one_line(error)
        cut = "end of document" in message and "overwrite" not in message
        raise ParseError(message + (CUT if cut else "")) from None


def _yaml(text: str) -> Parsed:
    from prefd.daemon.text.yaml import parse_yaml  # here: `prefd status` reads no spec, and ruamel takes 50 ms

    return parse_yaml(text)


PARSERS: dict[str, Callable[[str], Parsed]] = {".yaml": _yaml, ".yml": _yaml, ".toml": _toml, ".json": _json}
