"""Builds YAML 1.2 from ruamel's events: one pass, no recursion, nothing expanded, nothing constructed but plain values.

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

from prefd.daemon.text.parsed import MAX_DEPTH, MAX_NODES, Parsed, ParseError, suspect_cut_file
from prefd.daemon.text.text_fault import LineStarts, Position
from prefd.daemon.text.wording import Path, clip, name_type

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


def parse_scalar(text: str) -> Any:
    """Converts an unquoted scalar under YAML 1.2's core schema."""
    if text in WORDS:
        return WORDS[text]
    if len(text) <= 400:  # a longer number is no number; also keeps int() linear
        for pattern, convert in NUMBERS:
            if pattern.fullmatch(text):
                return convert(text)
    return text


def _join_surrogates(text: str) -> str:
    """Joins the two escapes that JSON, which is YAML, writes for a character above U+FFFF."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


class Builder:
    """Builder makes values from YAML events, without recursion."""

    def __init__(self) -> None:
        self.positions: dict[Path, Position] = {}
        self.root: Any = None
        self.open: list[dict[str, Any] | list[Any]] = []
        self.path: list[str | int] = []
        self.key: str | None = None
        self.key_position = Position(1)

    def start(self, container: dict[str, Any] | list[Any], position: Position) -> None:
        """Opens a mapping or list at the place where the document is. Raises ParseError where it is nested too deeply."""
        self.place(container, position)
        self.open.append(container)
        self.key = None
        if len(self.open) > MAX_DEPTH:
            raise ParseError(f"nested deeper than {MAX_DEPTH} levels", position)

    def end(self) -> None:
        """Closes the innermost mapping or list."""
        self.open.pop()
        self.key = None
        if self.path:
            self.path.pop()

    def scalar(self, text: str, plain: bool, position: Position) -> None:
        """Takes a scalar as the next key or value. Raises ParseError for a repeated key."""
        text = _join_surrogates(text)
        parent = self.open[-1] if self.open else None
        if isinstance(parent, dict) and self.key is None:
            if text in parent:
                raise ParseError(f"the key {clip(text)!r} is given twice", position)
            self.key, self.key_position = text, position
            return
        self.place(parse_scalar(text) if plain else text, position)
        if self.path:
            self.path.pop()

    def place(self, value: Any, position: Position) -> None:
        """Puts `value` where the document is; its path stays on `self.path` until it ends."""
        if not self.open:
            self.root = value
            return
        parent = self.open[-1]
        if isinstance(parent, list):
            self.path.append(len(parent))
            parent.append(value)
        elif self.key is None:
            raise ParseError(f"a key must be text, not {name_type(value)}", position)
        else:
            self.path.append(self.key)
            parent[self.key] = value
            self.key, position = None, self.key_position
        self.positions[tuple(self.path)] = position


def parse_yaml(text: str) -> Parsed:
    """Parses the one document in `text`. Raises ParseError; what ruamel itself raises beyond its own errors is the caller's."""
    builder, lines = Builder(), LineStarts(text)
    try:
        _read_events(text, builder, lines)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        cut = suspect_cut_file(mark.index, text) if mark else ""
        position = lines.find_position(mark.index) if mark else None
        raise ParseError(clip(error.problem or error.context or "not YAML", 200) + cut, position) from None
    except ReaderError as error:
        position = lines.find_position(error.position)
        raise ParseError("a character that YAML does not allow: is it a binary file?", position) from None
    if builder.root is None:
        raise ParseError("the file has no values: a spec needs at least `model` and `data.path`")
    return Parsed(builder.root, lambda: builder.positions)


def _read_events(text: str, builder: Builder, lines: LineStarts) -> None:
    """Hands what ruamel reads to `builder`. Raises ParseError for what a spec may not have: more documents, anchors, tags."""
    documents = 0
    for nodes, event in enumerate(YAML(typ="safe", pure=True).parse(text), 1):
        position = lines.find_position(event.start_mark.index if event.start_mark else 0)
        if nodes > MAX_NODES:
            raise ParseError(f"more than {MAX_NODES} values: not a job spec", position)
        if isinstance(event, events.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise ParseError("a second document (`---`): a spec is one", position)
            continue
        _refuse_references(event, position)
        _build_event(event, builder, position)


def _refuse_references(event: events.Event, position: Position) -> None:
    if isinstance(event, events.AliasEvent) or getattr(event, "anchor", None) is not None:
        raise ParseError("anchors and aliases (& and *) are not taken: write the value out", position)
    if (tag := getattr(event, "tag", None)) is not None:
        raise ParseError(f"tags ({clip(str(tag))}) are not taken: write a plain value", position)


def _build_event(event: events.Event, builder: Builder, position: Position) -> None:
    if isinstance(event, events.MappingStartEvent):
        builder.start({}, position)
    elif isinstance(event, events.SequenceStartEvent):
        builder.start([], position)
    elif isinstance(event, events.CollectionEndEvent):
        builder.end()
    elif isinstance(event, events.ScalarEvent):
        builder.scalar(event.value, event.style is None, position)
