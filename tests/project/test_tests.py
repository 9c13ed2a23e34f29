"""The tests' own order: what tests share is in tests/support, no test is imported, each has an assertion, and no file is long."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

from support.import_shares import import_modules, list_share
from support.paths import ROOT

TESTS = ROOT / "tests"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


IMPORT = re.compile(rb"^[ \t]*(?:from|import)\b[^\n(]*(?:\([^)]*\))?", re.MULTILINE)
TEST_MODULE = re.compile(rb"\btest_|\bconftest\b")


def imported(path: Path) -> set[str]:
    """The modules that a file imports, by their full names; none if no import of it names a test, which is seen without parsing."""
    if not any(TEST_MODULE.search(text) for text in IMPORT.findall(path.read_bytes())):
        return set()
    modules = set()
    for node in ast.walk(parse(path)):
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


def test_an_import_of_a_test_is_seen_in_one_line_and_in_several(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("from support import (\n    homes,\n    test_one,\n)\nimport conftest\n")
    assert imported(tmp_path / "a.py") >= {"support.test_one", "conftest"}


def test_test_folders_mirror_the_codes() -> None:
    """What is tested of a folder is found under its path."""
    folders = {
        path.parent for package in ("cache", "daemon", "plugins") for path in (TESTS / package).rglob("test_*.py")
    }
    assert len(folders) > 50
    strange = {str(folder) for folder in folders if not (ROOT / folder.relative_to(TESTS)).is_dir()}
    assert strange == set()


WAITS = re.compile(
    r"""setattr\(\s*[^()]*?["'.]\w*(?:_S|SECONDS|PATIENCE|WAIT|TIMEOUT|INTERVAL|LOOK|GRACE|TIMING)["'],"""
)


def test_no_test_patches_a_wait() -> None:
    """Waits are fields of `Timing`, which is handed in: what a test changes of them, it changes for itself alone."""
    patched = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in TESTS.rglob("*.py")
        for match in WAITS.finditer(path.read_text(encoding="utf-8"))
    }
    assert WAITS.search('monkeypatch.setattr(claims, "RENEW_AFTER_S", 0)')
    assert {each for each in patched if not each.startswith("tests/project/")} == set()


LINES = 400
"""A file of more has a second noun, which gets a file of its own."""
CHECKS = re.compile(r"assert|raises|\bcheck|expect|wait_for|fail|require|_or_refuse|notified|hint")
"""What a test says it by: an assertion, an expected error, or a helper that has one and is called so."""


def test_no_file_is_long() -> None:
    folders = ("benchmarks", "cache", "contrib", "daemon", "plugins", "tests")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts]
    assert len(paths) > 1000
    lengths = {str(path.relative_to(ROOT)): path.read_bytes().count(b"\n") for path in paths}
    assert {path: lines for path, lines in lengths.items() if lines > LINES} == {}


def test_each_test_says_what_it_shows() -> None:
    silent = []
    for path in sorted(TESTS.rglob("test_*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        tests = [node for node in ast.walk(parse(path)) if isinstance(node, Function) and node.name.startswith("test_")]
        bodies = {node.name: "\n".join(lines[node.lineno : node.end_lineno]) for node in tests}
        silent += [f"{path.relative_to(ROOT)}: {name}" for name, body in bodies.items() if not CHECKS.search(body)]
    assert silent == []


@pytest.mark.parametrize("count", [1, 3, 4])
def test_the_shares_that_are_compiled_are_all_modules_once(count: int) -> None:
    paths = [Path(f"test_{number}.py") for number in range(10)]
    assert [path for own in range(count) for path in list_share(paths, own, count)] == paths


@pytest.mark.parametrize(
    "fault", ["raise ValueError", "import pytest\npytest.skip('elsewhere', allow_module_level=True)"]
)
def test_a_module_that_cannot_be_imported_is_left_to_the_collection(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(request.config, "_rootpath", tmp_path)
    (tmp_path / "test_broken.py").write_text(f"{fault}\n")
    (tmp_path / "test_whole.py").write_text("ANSWER = 42\n")
    import_modules(request.session, sorted(tmp_path.iterdir()))
    whole = sys.modules.pop("test_whole")
    assert (whole.ANSWER, "test_broken" in sys.modules) == (42, False)
