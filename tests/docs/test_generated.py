"""The parts of pages that the code says are what it says now: `make docs` writes them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support import contrib_module
from support.paths import ROOT

GENERATED = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if "[[[cog" in page.read_text(encoding="utf-8")
]


def test_every_generated_part_is_current() -> None:
    command = [sys.executable, "-m", "cogapp", "--check", "--diff", "-I", str(ROOT / "contrib" / "docs")]
    done = subprocess.run([*command, *map(str, GENERATED)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, f"run `make docs`\n{done.stdout}{done.stderr}"


def test_a_part_that_is_not_what_the_code_says_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    page.write_text(text.replace("| `GET /v1/status` | What the daemon is doing |", "| `GET /v1/status` | Nothing |"))
    assert page.read_text() != text
    command = [sys.executable, "-m", "cogapp", "--check", "-I", str(ROOT / "contrib" / "docs"), str(page)]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_pages_have_generated_parts() -> None:
    assert {page.stem for page in GENERATED} >= {"README", "commands", "spec-reference", "losses", "daemon", "api"}


def test_a_link_to_a_definition_leads_to_its_heading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = contrib_module.load("docs/site.py")
    monkeypatch.setattr(site, "ROOT", tmp_path)
    monkeypatch.setattr(site, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(site, "STAGED", tmp_path / "build" / "docs")
    (tmp_path / "docs").mkdir()
    (tmp_path / "daemon").mkdir()
    (tmp_path / "daemon" / "a.py").write_text('"""Says hello."""\n\n\ndef hello() -> None:\n    """Hello."""\n')
    (tmp_path / "docs" / "index.md").write_text("See [`hello`](../daemon/a.py), [a](../daemon/a.py) and `[x](y)`.\n")
    pages = site.stage()
    assert [str(page.relative_to(site.STAGED)) for page in pages] == ["index.md", "source/daemon/a.py.md"]
    assert pages[0].read_text() == (
        "See [`hello`](source/daemon/a.py.md#hello), [a](source/daemon/a.py.md) and `[x](y)`.\n"
    )
    assert "## `hello` { #hello }" in pages[1].read_text()
