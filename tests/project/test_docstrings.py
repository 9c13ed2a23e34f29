"""Docstrings are sentences: a function's says what the function does, a property's what it returns, and none has two of them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from support.paths import ROOT

QUESTIONS = {"How", "What", "When", "Where", "Whether", "Which", "Who", "Why"}
"""Words with which half a sentence begins."""
ARTICLES = {"A", "All", "An", "Both", "Each", "Every", "One", "The"}
READING = {"Count", "Counts", "List", "Lists", "Name", "Names", "Return", "Returns", "Say", "Says"}
"""The verbs of properties. What is read like an attribute does nothing else, so a noun alone would look like enough: it leaves
open whether the thing itself is returned, its name, its path or its number.
"""
STATEMENTS = ROOT / "plugins" / "conformance" / "checks.py"
"""Its functions are named for what is true of a loss, and their docstrings say it."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def definitions() -> list[tuple[Path, ast.ClassDef | Function, str]]:
    """Every definition that has a docstring."""
    all_definitions = []
    for folder in ("cache", "daemon", "plugins"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.ClassDef | Function) and (text := ast.get_docstring(node)):
                    all_definitions.append((path.relative_to(ROOT), node, text))
    return all_definitions


def test_no_definition_has_two_docstrings() -> None:
    def is_text(statement: ast.stmt) -> bool:
        return (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str)
        )

    twice = [
        f"{path}:{node.lineno}" for path, node, _ in definitions() if all(map(is_text, node.body[:2])) and node.body[1:]
    ]
    assert twice == []


def test_no_docstring_is_half_a_sentence() -> None:
    assert len(definitions()) > 2000
    assert [f"{path}:{node.lineno}: {text}" for path, node, text in definitions() if text.split()[0] in QUESTIONS] == []


def test_a_public_function_says_what_it_does() -> None:
    things = [
        f"{path}:{node.lineno}: {text.splitlines()[0]}"
        for path, node, text in definitions()
        if isinstance(node, Function)
        and not node.name.startswith("_")
        and text.split()[0] in ARTICLES
        and ROOT / path != STATEMENTS
        and not any(word in ast.unparse(each) for each in node.decorator_list for word in ("property", "click"))
    ]
    assert things == [], "begin with a verb"


def test_a_property_says_what_it_returns() -> None:
    things = [
        f"{path}:{node.lineno}: {text.splitlines()[0]}"
        for path, node, text in definitions()
        if isinstance(node, Function)
        and any("property" in ast.unparse(each) for each in node.decorator_list)
        and text.split()[0] not in READING
    ]
    assert things == [], f"begin with one of {', '.join(sorted(READING))}"
