"""What pages point at is there: files, headings, definitions, modules, and folders of the repository."""

from __future__ import annotations

import ast
import pkgutil
import re
from functools import cache
from pathlib import Path

import pytest

from support.pages import DOCS, PAGES, Link, headings, links, name_of, spans
from support.paths import ROOT

FOLDERS = ("daemon", "cache", "plugins", "tests", "contrib", "benchmarks", "docs", "typings")
PATH = re.compile(rf"(?:{'|'.join(FOLDERS)})(?:/[\w.-]+)+/?")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def anchor_of(heading: str) -> str:
    """As forges and the site make it; both agree on headings of plain letters."""
    return re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-")


def test_headings_are_plain_enough_to_be_linked(subtests: pytest.Subtests) -> None:
    for page in PAGES:
        with subtests.test(name_of(page)):
            anchors = [anchor_of(heading) for heading in headings(page)]
            assert all(anchor.isascii() and "--" not in anchor for anchor in anchors)
            assert len(set(anchors)) == len(anchors)


def test_every_link_leads_somewhere(subtests: pytest.Subtests) -> None:
    assert len(links()) > 100
    for link in links():
        with subtests.test(str(link)):
            check_link(link)


def check_link(link: Link) -> None:
    if link.file is None:
        assert re.fullmatch(r"(https://|mailto:)\S+", link.target)
        return
    assert link.file.exists()
    if link.anchor:
        assert link.anchor in {anchor_of(heading) for heading in headings(link.file)}
    assert link.file.is_file() or not link.page.startswith("docs/"), "the site has no page for a folder"


@cache
def definitions(file: Path) -> set[str]:
    """The classes, functions and constants of a module, and `Class.method`."""
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.ClassDef(name=name, body=body):
                inner = [each.name for each in body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
                names |= {name, *(f"{name}.{each}" for each in inner)}
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {each.id for each in targets if isinstance(each, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


def named() -> list[Link]:
    """The links whose label is that of a definition."""
    return [link for link in links() if re.fullmatch(r"[A-Za-z_][\w.]*", link.label) and link.target.endswith(".py")
            and not link.label.endswith(".py")]  # fmt: skip


def test_every_definition_is_where_the_page_says(subtests: pytest.Subtests) -> None:
    assert len(named()) > 30
    for link in named():
        with subtests.test(f"{link.page}: {link.label} in {link.target}"):
            assert link.file is not None
            assert link.label in definitions(link.file)


def test_every_path_is_there(subtests: pytest.Subtests) -> None:
    for page, text in sorted({each for each in spans() if PATH.fullmatch(each[1])}):
        with subtests.test(f"{page}: {text}"):
            assert (ROOT / text).exists()


def test_every_module_is_there(subtests: pytest.Subtests) -> None:
    files = {"prefd.sqlite3", "prefd.service", "prefd.plist", "prefd.sock"}
    folders = {"prefd.daemon", "prefd.cache", "prefd.plugins"}
    for name in sorted({text for _, text in spans() if re.fullmatch(r"prefd(\.\w+)+", text)} - files - folders):
        with subtests.test(name):
            assert pkgutil.resolve_name(name)


def test_the_layers_are_those_that_make_lint_checks() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    drawn = re.search(r"^prefd\.daemon\n(.*?)\n\n", text, re.DOTALL | re.MULTILINE)
    assert drawn is not None
    shown = [line[2:].split("  ")[0].strip() for line in drawn[1].splitlines()]
    contract = re.search(r'containers = \["prefd\.daemon"\]\n.*?layers = \[\n(.*?)\n\]', PYPROJECT, re.DOTALL)
    assert contract is not None
    assert shown == re.findall(r'"(.*?)"', contract[1])
