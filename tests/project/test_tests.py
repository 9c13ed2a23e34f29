"""The tests' own order: what tests share is in tests/support, and no test is imported."""

from __future__ import annotations

import ast
from pathlib import Path

from support.paths import ROOT

TESTS = ROOT / "tests"


def imported(path: Path) -> set[str]:
    """The modules that a file imports, by their full names."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def test_no_test_is_imported() -> None:
    paths = [*TESTS.rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    assert len(paths) > 200
    imports = {
        (str(path.relative_to(ROOT)), name)
        for path in paths
        for name in imported(path)
        if any(part.startswith("test_") or part == "conftest" for part in name.split("."))
    }
    assert imports == set()
