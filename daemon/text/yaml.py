"""YAML 1.2 from ruamel's events: one pass, no recursion, nothing expanded, nothing constructed but plain values.

Not ruamel's own loader: it expands aliases, knows more types than the core schema and recurses. Here `1e-5` is a
number, `no` and `2024-01-01` are text, and anchors, aliases, tags and repeated keys are errors with their line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from prefd.daemon.text.parsed import MAX_DEPTH, MAX_NODES, Parsed, ParseError, cut_short
from prefd.daemon.text.wording import Path, clip, kind

NUMBERS: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text, 0)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text, 0)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda _: math.nan),
)
WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def plain_scalar(text: str) -> Any:
    """An unquoted scalar under YAML 1.2's core schema."""
    if text in WORDS:
        return WORDS[text]
    if len(text) <= 400:  # a longer number is no number; also keeps int() linear
        for pattern, convert in NUMBERS:
            if pattern.fullmatch(text):
                return convert(text)
    return text


def _join_surrogates(text: str) -> str:
    """JSON writes a character above U+FFFF as two escapes, and JSON is YAML."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


class Builder:
    """Values from YAML events, without recursion."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.root: Any = None
        self.open: list[dict[str, Any] | list[Any]] = []
        self.path: list[str | int] = []
        self.key: str | None = None
        self.key_line = 0

    def start(self, container: dict[str, Any] | list[Any], line: int) -> None:
        self.place(container, line)
        self.open.append(container)
        self.key = None
        if len(self.open) > MAX_DEPTH:
            raise ParseError(f"line {line}: nested deeper than {MAX_DEPTH} levels")

    def end(self) -> None:
        self.open.pop()
        self.key = None
        if self.path:
            self.path.pop()

    def scalar(self, text: str, plain: bool, line: int) -> None:
        text = _join_surrogates(text)
        inside = self.open[-1] if self.open else None
        if isinstance(inside, dict) and self.key is None:
            if text in inside:
                raise ParseError(f"line {line}: the key {clip(text)!r} is given twice")
            self.key, self.key_line = text, line
            return
        self.place(plain_scalar(text) if plain else text, line)
        if self.path:
            self.path.pop()

    def place(self, value: Any, line: int) -> None:
        """Put `value` where the document is; its path stays on `self.path` until it ends."""
        if not self.open:
            self.root = value
            return
        inside = self.open[-1]
        if isinstance(inside, list):
            self.path.append(len(inside))
            inside.append(value)
        elif self.key is None:
            raise ParseError(f"line {line}: a key must be text, not {kind(value)}")
        else:
            self.path.append(self.key)
            inside[self.key] = value
            self.key, line = None, self.key_line
        self.lines[tuple(self.path)] = line


def parse_yaml(text: str) -> Parsed:
    """The one document in `text`. Raises ParseError; what ruamel itself raises beyond its own errors is the caller's."""
    build = Builder()
    try:
        _read_events(text, build)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        cut = cut_short(mark.index, text) if mark else ""
        raise ParseError(f"{at}{clip(error.problem or error.context or 'not YAML', 200)}{cut}") from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ParseError(f"line {line}: a character that YAML does not allow: is it a binary file?") from None
    if build.root is None:
        raise ParseError("the file has no values: a spec needs at least `model` and `data.path`")
    return Parsed(build.root, build.lines)


def _read_events(text: str, build: Builder) -> None:
    """Hand what ruamel reads to `build`. Raises ParseError for what a spec may not have: more documents, anchors, tags."""
    documents = 0
    for nodes, event in enumerate(YAML(typ="safe", pure=True).parse(text), 1):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if nodes > MAX_NODES:
            raise ParseError(f"line {line}: more than {MAX_NODES} values: not a job spec")
        if isinstance(event, events.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise ParseError(f"line {line}: a second document (`---`): a spec is one")
            continue
        _refuse_references(event, line)
        _build_event(event, build, line)


def _refuse_references(event: events.Event, line: int) -> None:
    if isinstance(event, events.AliasEvent) or getattr(event, "anchor", None) is not None:
        raise ParseError(f"line {line}: anchors and aliases (& and *) are not taken: write the value out")
    if (tag := getattr(event, "tag", None)) is not None:
        raise ParseError(f"line {line}: tags ({clip(str(tag))}) are not taken: write a plain value")


def _build_event(event: events.Event, build: Builder, line: int) -> None:
    if isinstance(event, events.MappingStartEvent):
        build.start({}, line)
    elif isinstance(event, events.SequenceStartEvent):
        build.start([], line)
    elif isinstance(event, events.CollectionEndEvent):
        build.end()
    elif isinstance(event, events.ScalarEvent):
        build.scalar(event.value, event.style is None, line)
