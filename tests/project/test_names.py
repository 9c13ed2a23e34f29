"""Names say what a thing is: no variable, parameter or function is called by what has happened to it (`said`, `found`, `at`).

A field of a class may be: it is read behind the thing that it belongs to (`report.kept`, `event.at`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.paths import ROOT

FOLDERS = ("benchmarks", "cache", "contrib", "daemon", "plugins", "tests")
BARE = "said|told|made|found|at|posted|needed|watched|known|asked|given|kept|taken"
"""What names nothing by itself: the message, the finding, the index, the request, the options are called that."""
BINDING = re.compile(rf"\b({BARE})\b *([:,()=]|[-+*/|&]=|in\b)")
"""What may be the making of such a name; whether it is, Python's grammar says."""
UNPLAIN = re.compile(r"\b(whoever|whomever)\b", re.IGNORECASE)
"""Words in the place of the process, the job or the user that is meant."""


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from (path for path in sorted((ROOT / folder).rglob("*.py")) if "node_modules" not in path.parts)


def bound_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The names of variables, parameters and functions, each with its line; not those of a class's fields."""
    fields = {id(each) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for each in node.body}
    declared = {id(node.target) for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) and id(node) in fields}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) if id(node) not in declared:
                yield node.lineno, name
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield node.lineno, name


def bare_names(text: str) -> list[tuple[int, str]]:
    bare = set(BARE.split("|"))
    return [place for place in bound_names(ast.parse(text)) if place[1] in bare] if BINDING.search(text) else []


@pytest.mark.parametrize(
    "text",
    [
        "found = 1",
        "found: list[int] = []",
        "before, found = 1, 2",
        "(found,) = [1]",
        "found += 1",
        "if found := 1: pass",
        "[found for found in ()]",
        "for key, found in (): pass",
        "with a as found: pass",
        "def found(): pass",
        "def find(found): pass",
        "def find(a: int, found: int): pass",
        "lambda found: 1",
        "lambda a, found: 1",
        "try: pass\nexcept A as found: pass",
    ],
)
def test_a_bare_name_is_seen_wherever_it_is_made(text: str) -> None:
    assert [name for _, name in bare_names(text)] == ["found"]


def test_a_field_may_be_called_so() -> None:
    assert bare_names("class Report:\n    kept: int = 0\n") == []


def test_no_name_is_a_bare_participle() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in sources()}
    assert len(texts) > 1000
    assert not {path.stem for path in texts} & set(BARE.split("|"))
    places = [
        f"{path.relative_to(ROOT)}:{line}: {name}" for path, text in texts.items() for line, name in bare_names(text)
    ]
    assert places == [], "say what it is: the message, the finding, the index, the request"


def test_the_code_names_who_does_it() -> None:
    places = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources()
        if path.relative_to(ROOT).parts[0] not in ("tests", "benchmarks")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if UNPLAIN.search(line)
    ]
    assert places == [], "name the process, the job or the user that is meant"
