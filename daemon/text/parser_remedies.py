"""Adds to a parser's own words what to do: they say what a parser expected, in its terms, and not what its user should type."""

from __future__ import annotations

import re
from collections.abc import Sequence

from prefd.daemon.text.parsed import CUT_SHORT_HINT
from prefd.daemon.text.pasted_text import explain_line, explain_pasted_line

BACKSLASH = """in "…" a backslash begins an escape: write '…', or / in a path"""
REMEDIES: Sequence[tuple[str, str]] = (
    # YAML
    (r"found character '\\t'", "a tab in the indent: indent with spaces"),
    (r"found character '.' that cannot start any token", "put the value in quotes"),
    (r"mapping values are not allowed", "is a value with `: ` in it not in quotes, or a line not indented as its neighbours?"),
    (r"found unknown escape character|expected escape sequence", BACKSLASH),
    (r"could not find expected ':'", "each line is `key: value`"),
    (r"expected <block end>", "are the lines of a block indented alike?"),
    (r"expected ',' or '[\]}]'", "is a bracket not closed, or a value with a comma or bracket in it not in quotes?"),
    # JSON
    (r"Invalid \\(u|x)?\w*escape", r"write \\ for a backslash, or / in a path"),
    (r"Invalid control character", r"a line break or a tab inside quotes is written \n or \t"),
    (r"Expecting property name|Illegal trailing comma", 'keys are in "…"; JSON has no comments and no comma behind the last value'),
    (r"Expecting value", "JSON writes true, false and null, and text in \"…\""),
    (r"Extra data", "a spec is one object: rows belong into a file that data.path names"),
    # TOML
    (r"Unescaped '\\'|Invalid hex value|Invalid initial character", BACKSLASH),
    (r"Invalid value", "text goes in quotes"),
)  # fmt: skip
"""What a parser says, and what to do about it."""
YAML_LINE = re.compile(r"\s*(- )?[\w.-]+:(\s|$)")
TOML_LINE = re.compile(r"\s*([\w.-]+\s*=\s*\S|\[[\w.-]+\]\s*$)")
TIGHT_LINE = re.compile(r"""\s*[\w.-]+:[^\s:/\\]""")
LINE = re.compile(r"\bline (\d+)\b")


def explain_failure(message: str, text: str, suffix: str) -> str:
    """Returns a parser's message about `text`, with what to do where that can be told."""
    if pasted := explain_pasted_line(text):
        return pasted
    lines = split_lines(text)
    match = LINE.search(message)
    line = lines[int(match[1]) - 1] if match and 0 < int(match[1]) <= len(lines) else ""
    if odd := explain_line(line):
        return message + odd
    if message.endswith(CUT_SHORT_HINT):
        return message
    if suffix == ".toml" and YAML_LINE.match(line):
        return f"{message}; it looks like YAML: call it .yaml"
    if suffix == ".json" and (YAML_LINE.match(lines[0]) or TOML_LINE.match(lines[0])):
        return f"{message}; it is no JSON: {'YAML is called .yaml' if YAML_LINE.match(lines[0]) else 'TOML is called .toml'}"
    remedy = next((remedy for pattern, remedy in REMEDIES if re.search(pattern, message)), "")
    return f"{message}; {remedy}" if remedy else message


def explain_root(message: str, text: str) -> str:
    """Returns the message about a text that holds no settings at all, with the line that is to blame where one can be told."""
    for number, line in enumerate(split_lines(text), 1):
        if odd := explain_line(line):
            return f"line {number}: {message}{odd}"
        if TOML_LINE.match(line):
            return f"line {number}: {message}; it looks like TOML: call it .toml"
        if TIGHT_LINE.match(line):
            return f"line {number}: {message}; put a space behind the colon"
    return message


def split_lines(text: str) -> list[str]:
    """Splits a text at the ends of lines that parsers know, and at no other."""
    return re.split(r"\r\n|\r|\n", text)
