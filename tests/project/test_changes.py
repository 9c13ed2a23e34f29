"""changes/ holds a well-formed file for each change to come, and CHANGELOG.md is assembled from them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT

FILES = sorted(path for path in (ROOT / "changes").glob("*") if path.name != "README.md")


def build(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "towncrier", "build", "--dir", folder, "--version", "9.9.0", "--date", "today"]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with prefd's settings and changelog, and one change."""
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes" / "+limit.changed.md").write_text("`prefd jobs` shows the newest 50.\n")
    return tmp_path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_change_is_sentences_that_end(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.endswith((".\n", "`\n"))
    assert not text.startswith(("-", "*", "#", " ", "\n")), "the bullet is put before it by towncrier"
    assert "\n\n" not in text
    assert max(map(len, text.splitlines())) <= 160


def test_changes_have_names_that_towncrier_knows() -> None:
    done = build(ROOT, "--draft")
    assert done.returncode == 0, done.stderr
    for path in FILES:
        assert f"- {path.read_text(encoding='utf-8').splitlines()[0]}" in done.stdout


def test_a_kind_that_is_not_known_is_refused(project: Path) -> None:
    (project / "changes" / "+limit.improved.md").write_text("`prefd jobs` is better.\n")
    done = build(project, "--draft")
    assert done.returncode != 0
    assert "+limit.improved.md" in done.stderr + done.stdout


def test_a_release_goes_above_the_one_before(project: Path) -> None:
    assert build(project, "--yes").returncode == 0
    changelog = (project / "CHANGELOG.md").read_text(encoding="utf-8")
    added = "## 9.9.0 (today)\n\n### Changed\n\n- `prefd jobs` shows the newest 50.\n"
    assert added in changelog
    assert changelog.index("notes start -->") < changelog.index(added) < changelog.index("## 0.1.0")
