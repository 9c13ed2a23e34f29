"""Parses spec text to plain values: YAML 1.2, TOML or JSON, with every bound checked before it could hurt.

The parsers' own loaders are not enough: YAML aliases expand without limit, `json` keeps the last of two equal keys and
takes NaN, `tomllib` needs memory quadratic in a dotted key's length, and each of them recurses. So size, depth and
node count are bounded here. YAML is built from ruamel's events rather than by its loader: one pass, no aliases or tags,
exactly the core schema (`1e-5` is a number, `no` and `2024-01-01` are text), and the position of every key is known.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable
from typing import Any

from prefd.daemon.text.decoding import decode_text
from prefd.daemon.text.json_positions import iterate_json_positions
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
from prefd.daemon.text.text_fault import LineStarts, Position
from prefd.daemon.text.toml_positions import find_toml_positions
from prefd.daemon.text.wording import Path, clip, format_path, name_type, summarize_error

MAX_DOTS = 2_000
MAX_INTEGER = 2**63
MOST_DIGITS = 21
"""So many digits and a sign are a larger number than that."""
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""What moves a terminal's cursor, changes its colours, or ends a C string; tabs and line ends are text."""


def parse(data: bytes, suffix: str) -> Parsed:
    """Parses the values in `data`. Raises ParseError, and nothing else."""
    if len(data) > MAX_BYTES:
        raise ParseError(f"larger than {MAX_BYTES // 1024} KiB: not a job spec")
    text = decode_text(data)
    if not text.strip():
        raise ParseError("the file is empty: a spec needs at least `model` and `data.path`")
    if fault := explain_start(text):
        raise ParseError.of_fault(fault)
    parsed = _parse_text(text, suffix)
    if not isinstance(parsed.value, dict):
        expected = f"expected `key: value` lines at the top, got {name_type(parsed.value)}"
        raise ParseError.of_fault(explain_root(expected, text))
    return parsed


def _parse_text(text: str, suffix: str) -> Parsed:
    """Parses the values in `text`, within bounds. Raises ParseError, and nothing else."""
    try:
        parsed = PARSERS[suffix](text)
        _check_tree(parsed)
    except ParseError as error:
        raise ParseError.of_fault(explain_failure(error.fault, text, suffix)) from None
    except RecursionError:
        raise ParseError(f"nested deeper than {MAX_DEPTH} levels") from None
    except Exception as error:  # noqa: BLE001  # a parser's own fault on hostile text must not be the daemon's
        raise ParseError(f"cannot be read as {suffix.lstrip('.')}: {summarize_error(error)}") from None
    return parsed


def _check_tree(parsed: Parsed) -> None:
    """Refuses depth, size, numbers and characters that no spec can hold."""
    pending: list[tuple[Path, Any]] = [((), parsed.value)]
    count = 0
    while pending:
        path, value = pending.pop()
        count += 1
        if count > MAX_NODES:
            raise ParseError(f"more than {MAX_NODES} values: not a job spec")
        if len(path) > MAX_DEPTH:
            raise ParseError(f"nested deeper than {MAX_DEPTH} levels")
        if problem := _explain_number(value) or next(filter(None, map(_explain_text, (value, *path[-1:]))), None):
            raise ParseError(problem, parsed.positions.get(path), format_path(path))
        if isinstance(value, dict):
            pending += [((*path, key), each) for key, each in value.items()]
        elif isinstance(value, list):
            pending += [((*path, index), each) for index, each in enumerate(value)]


def _explain_number(value: Any) -> str | None:
    """Says why a number cannot be held; None for one that can, and for what is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"expected a finite number, got {value}"
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        return "the number is too large"
    return None


def _explain_text(value: Any) -> str | None:
    """Says which of a text's characters is none that a text has; None without one, and for what is no text."""
    if not isinstance(value, str):
        return None
    if match := CONTROL.search(value):
        remedy = f"; {BACKSLASH}" if match[0] in "\a\b\v\f\x1b" else ""
        return f"a control character ({match[0]!a}) is not text{remedy}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return r"half of a surrogate pair (\ud800 to \udfff) is not text"
    return None


def _parse_json(text: str) -> Parsed:
    is_key_repeated = False

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal is_key_repeated
        values = dict(pairs)
        is_key_repeated |= len(values) < len(pairs)
        return values

    try:
        value = json.loads(text, object_pairs_hook=collect, parse_int=_parse_integer)
    except json.JSONDecodeError as error:
        cut = CUT_SHORT_HINT if error.msg.startswith("Unterminated") else suspect_cut_file(error.pos, text)
        raise ParseError(f"{error.msg}{cut}", LineStarts(text).find_position(error.pos)) from None
    if is_key_repeated:
        _refuse_repeated_key(text)
    return Parsed(value, lambda: dict(iterate_json_positions(text)))


def _refuse_repeated_key(text: str) -> None:
    """Raises the error that names the first key of an object that it has had before."""
    paths: set[Path] = set()
    for path, position in iterate_json_positions(text):
        if path in paths:
            raise ParseError(f"the key {clip(str(path[-1]))!r} is given twice", position)
        paths.add(path)


def _parse_integer(digits: str) -> int:
    """Reads a whole number, and one that is too large as another one that is: `int` takes long over many digits."""
    return int(digits[:MOST_DIGITS])


TOML_TEXT = re.compile(
    r""""{3}(?:\\.|[^\\])*?(?:"{3,5}|\Z)|'{3}.*?(?:'{3,5}|\Z)|"(?:\\.|[^"\\\n])*"?|'[^'\n]*'?|\#[^\n]*""", re.DOTALL
)
TOML_PLACE = re.compile(r"(?P<problem>.*) \(at (line (?P<line>\d+), column (?P<column>\d+)|end of document)\)")
"""How tomllib ends its messages."""
TOML_KEY = re.compile(r"[\w-]+(?:[ \t]*\.[ \t]*[\w-]+)*")


def _parse_toml(text: str) -> Parsed:
    if "\n" not in text:
        text = text.replace("\r", "\n")  # an old Mac's lines, which YAML and JSON take
    dots = [key.count(".") for key in TOML_KEY.findall(TOML_TEXT.sub("_", text))]
    if max(dots, default=0) > MAX_DEPTH or sum(dots) > MAX_DOTS:
        raise ParseError(f"nested deeper than {MAX_DEPTH} levels, or more dotted keys than a spec has")
    try:
        return Parsed(tomllib.loads(text), lambda: find_toml_positions(text))
    except tomllib.TOMLDecodeError as error:
        raise _explain_toml_error(summarize_error(error), text) from None


def _explain_toml_error(message: str, text: str) -> ParseError:
    """Takes the place out of tomllib's message, which has it as text."""
    match = TOML_PLACE.fullmatch(message)
    if match is None:
        return ParseError(message)
    if match["line"]:
        return ParseError(match["problem"], Position(int(match["line"]), int(match["column"])))
    cut = "" if "overwrite" in message else CUT_SHORT_HINT
    return ParseError(match["problem"] + cut, LineStarts(text).find_position(len(text.rstrip())))


def _parse_yaml(text: str) -> Parsed:
    from prefd.daemon.text.yaml import parse_yaml  # here: `prefd status` reads no spec, and ruamel takes 50 ms

    return parse_yaml(text)


PARSERS: dict[str, Callable[[str], Parsed]] = {
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".toml": _parse_toml,
    ".json": _parse_json,
}
