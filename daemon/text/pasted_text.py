"""Recognises text that was copied from a web page, a chat or a diff, and characters that look like others: each is told with its line.

`explain_start` looks at a text that is no spec at all, `explain_characters` at the parsed keys and values, and `explain_line` at the
line that a parser stopped at. Nothing is mended in silence: a quote, a blank or a dash may be part of a name.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from prefd.daemon.text.text_fault import LINE_END, Position, TextFault
from prefd.daemon.text.wording import Path, clip, format_path

STARTS: Sequence[tuple[str, str]] = (
    (r"<(!doctype|html|head|body|\?xml|svg|div|pre|!--)", "a web page (HTML) or XML, and no spec: get the file itself (on GitHub: Raw)"),
    (r"version https://git-lfs\.github\.com/spec/", "a pointer of Git LFS in place of the file: `git lfs pull`"),
    (r"(diff --git|index [0-9a-f]{7,}\.\.|--- a/|@@ -\d)", "a diff, and no spec: apply it, or take the file itself"),
    (r"40[0-9]: ", "the answer of a web server to a request that failed, and no spec: get the file again"),
    (r"#!", "a script, and no spec"),
    (r"(import|from) \w[\w.]*( import|\s*$)", "a program in Python, and no spec"),
)  # fmt: skip
"""How texts begin that are no specs, and what they are."""
LINES: Sequence[tuple[str, str]] = (
    (r"\s*(```|~~~)", "is markdown, from around the spec: take it out"),
    (r"(<{7}|>{7}|\|{7}) |={7}\s*$", "is of a merge that was not finished: keep one of the two sides"),
    (r"\s*(\$|>>>|PS [A-Z]:\\\S*>) \S", "begins with a shell's prompt: take it out"),
    (r"(cat|tee) .*<<|EOF\s*$", "is of a shell's here-document: take it out"),
    (r">+ ?[\w.-]+:", "is quoted as in a mail: take the > at the start of the lines out"),
    (r"[ \t]*\d+[ \t]*[|:][ \t]*[\w.-]+:(\s|$)", "has a line number that was copied along: take them out"),
)
"""Lines that no spec has, and what they are."""

QUOTES = "“”„‟‘’‚‛«»‹›″′`´"
DASHES = "‐‑‒–—―−－﹣"
WIDE = {"：": ":", "，": ",", "＝": "=", "｛": "{", "｝": "}", "［": "[", "］": "]", "＂": '"', "＇": "'", "＃": "#"}
ENTITY = re.compile(r"&(quot|amp|lt|gt|nbsp|apos|#\d+|#x[0-9a-fA-F]+);")
"""How a web page's source writes a character."""
INVISIBLE = "\u200b\u2060\ufeff\u180e\u00ad\u2028\u2029" + "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters without a width, and those that turn the direction: none is part of a name that anyone typed."""
JOINERS = "\u200c\u200d\u200e\u200f"
"""Characters that words and emoji may have inside."""
BLANKS = "\u00a0\u202f\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u205f\u3000"
PASTED_KEY = re.compile(r"\d+[ \t]+(?=[A-Za-z_])|[+>][ \t]*(?=[A-Za-z_])")
"""A line number, or the mark of a diff or a mail, before a key."""
_NUMBER = re.compile(r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?")
_DASHES_TO_MINUS = str.maketrans(dict.fromkeys(DASHES, "-"))
_INVISIBLE = re.compile(f"[{INVISIBLE}]")


def explain_start(text: str) -> TextFault | None:
    """Says what a text is that is no spec at all, by how it begins; None where it may be one."""
    start = text[:200].lstrip().lower()
    description = next((description for pattern, description in STARTS if re.match(pattern, start)), None)
    return None if description is None else TextFault(f"it is {description}", position=Position(1))


def explain_pasted_line(text: str) -> TextFault | None:
    """Says what the first line is that was copied along with a spec: a fence, a prompt, a conflict's mark; None without one."""
    for number, line in enumerate(LINE_END.split(text), 1):
        for pattern, description in LINES:
            if re.match(pattern, line):
                return TextFault(f"{clip(line)!r} {description}", position=Position(number))
    return None


def explain_characters(root: Any) -> TextFault | None:
    """Says which key or value has a character that looks like another or like none; None where none has."""
    for path, text, is_key in _iterate_texts(root):
        if problem := _explain_text(text, is_key):
            return TextFault(problem, clip(format_path(path)))
    return None


def explain_line(line: str) -> str:
    """Says, as a clause to add, which character in a line that could not be parsed looks like another; "" where none does."""
    if match := ENTITY.search(line):
        return f"; the line has {match[0]}, as a web page's source writes it: write {html.unescape(match[0])!r}"
    for char in line:
        if char in BLANKS + INVISIBLE + JOINERS:
            return f"; the line has {_name(char)}: retype it"
        if char in QUOTES and char != "`":
            return f"""; the line has a typographic quote ({_name(char)}): write " or '"""
        if char in WIDE:
            return f"; the line has {_name(char)}: write {WIDE[char]}"
        if char in DASHES:
            return f"; the line has {_name(char)}: write -"
    return ""


def _iterate_texts(root: Any) -> Iterator[tuple[Path, str, bool]]:
    """Yields each key and text with its path, and whether it is a key."""
    pending: list[tuple[Path, Any]] = [((), root)]
    while pending:
        path, value = pending.pop(0)
        if path and isinstance(path[-1], str):
            yield path, path[-1], True
        if isinstance(value, str):
            yield path, value, False
        elif isinstance(value, dict):
            pending += [((*path, key), each) for key, each in value.items()]
        elif isinstance(value, list):
            pending += [((*path, index), each) for index, each in enumerate(value)]


def _explain_text(text: str, is_key: bool) -> str | None:
    """Says what is odd about one key or value."""
    if match := ENTITY.search(text):
        return f"it has {match[0]}, as a web page's source writes it: write {html.unescape(match[0])!r}"
    problem = None if text.isascii() else _explain_unseen(text)
    problem = problem or (_explain_key(text) if is_key else _explain_value(text))
    return problem.replace("it ", "the key ", 1) if problem and is_key else problem


def _explain_unseen(text: str) -> str | None:
    """Says which character cannot be seen, or is a blank for the eye alone."""
    if match := _INVISIBLE.search(text):
        return f"it has a character that cannot be seen, {_name(match[0])}: retype it"
    for char in text[:1] + text[-1:]:
        if char in BLANKS:
            return f"it begins or ends with {_name(char)}, which is no blank here: retype it with a space"
        if char in JOINERS:
            return f"it begins or ends with a character that cannot be seen, {_name(char)}: retype it"
    return None


def _explain_key(text: str) -> str | None:
    """Says what was copied along with a key, or which of its characters no key has."""
    if match := PASTED_KEY.match(text):
        return f"it begins with {match[0].strip()!r}, which was copied along: take it out"
    odd = BLANKS + JOINERS + QUOTES + "".join(WIDE) + DASHES
    return next((f"it has {_name(char)}: retype it" for char in text if char in odd), None)


def _explain_value(text: str) -> str | None:
    """Says which quotes, dash or digits of a value are not those that they look like."""
    if text.isascii():
        return None
    if len(text) > 1 and text[0] in QUOTES and text[-1] in QUOTES:
        plain = clip(text[1:-1])
        return f'the quotes of {clip(text)} are typographic, and part of the text: write "{plain}"'
    if text[0] in DASHES and text[1:2] == " ":
        return f"{clip(text)} begins with {_name(text[0])}: an item of a list begins with -"
    plain = unicodedata.normalize("NFKC", text.translate(_DASHES_TO_MINUS)).strip()
    if plain == text or not _NUMBER.fullmatch(plain):
        return None
    char = next(each for each in text if not each.isascii())
    return f"{clip(text)} has {_name(char)}: write {plain}"


def _name(char: str) -> str:
    """Names a character, as `NO-BREAK SPACE (U+00A0)`."""
    return f"{unicodedata.name(char, 'a character')} (U+{ord(char):04X})"
