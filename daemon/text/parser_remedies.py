"""Adds to a parser's own words what to do: they say what a parser expected, in its terms, and not what its user should type."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from prefd.daemon.text.parsed import CUT_SHORT_HINT
from prefd.daemon.text.pasted_text import explain_line, explain_pasted_line
from prefd.daemon.text.text_fault import LINE_END, Position, TextFault

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
    (r"Cannot overwrite a value|Cannot declare .* twice|Cannot mutate immutable", "is a key or a [table] given twice?"),
)  # fmt: skip
"""What a parser says, and what to do about it."""
YAML_LINE = re.compile(r"\s*(- )?[\w.-]+:(\s|$)")
TOML_LINE = re.compile(r"\s*([\w.-]+\s*=\s*\S|\[[\w.-]+\]\s*$)")
TIGHT_LINE = re.compile(r"""\s*[\w.-]+:[^\s:/\\]""")


def explain_failure(fault: TextFault, text: str, suffix: str) -> TextFault:
    """Returns what a parser says of `text`, with what to do where that can be told."""
    if pasted := explain_pasted_line(text):
        return pasted
    lines = LINE_END.split(text)
    line = lines[fault.position.line - 1] if fault.position and fault.position.line <= len(lines) else ""
    return replace(fault, message=_add_remedy(fault.message, line, lines[0], suffix))


def _add_remedy(message: str, line: str, first_line: str, suffix: str) -> str:
    """Returns a message about `line` with what to do."""
    if odd := explain_line(line):
        return message + odd
    if message.endswith(CUT_SHORT_HINT):
        return message
    if suffix == ".toml" and YAML_LINE.match(line):
        return f"{message}; it looks like YAML: call it .yaml"
    if suffix == ".json" and (YAML_LINE.match(first_line) or TOML_LINE.match(first_line)):
        return f"{message}; it is no JSON: {'YAML is called .yaml' if YAML_LINE.match(first_line) else 'TOML is called .toml'}"
    remedy = next((remedy for pattern, remedy in REMEDIES if re.search(pattern, message)), "")
    return f"{message}; {remedy}" if remedy else message


def explain_root(message: str, text: str) -> TextFault:
    """Returns the message about a text that holds no settings at all, with the line that is to blame where one can be told."""
    for number, line in enumerate(LINE_END.split(text), 1):
        if odd := explain_line(line):
            return TextFault(f"{message}{odd}", position=Position(number))
        if TOML_LINE.match(line):
            return TextFault(f"{message}; it looks like TOML: call it .toml", position=Position(number))
        if TIGHT_LINE.match(line):
            return TextFault(f"{message}; put a space behind the colon", position=Position(number))
    return TextFault(message)
