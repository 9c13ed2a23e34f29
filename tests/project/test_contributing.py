"""What a contributor is told is true: targets, hooks, forms, files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from prefd.daemon.cli import cli
from support.paths import ROOT

PAGES = ("CONTRIBUTING.md", "SECURITY.md", "docs/compatibility.md", "changes/README.md")
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_contributing_fits_on_a_screen() -> None:
    assert len(text("CONTRIBUTING.md").splitlines()) <= 50


@pytest.mark.parametrize("name", PAGES)
def test_make_targets_and_links_exist(name: str) -> None:
    targets = set(re.findall(r"(?:^|`)make ([a-z-]+)\b", text(name), flags=re.MULTILINE))
    assert targets <= set(re.findall(r"^([a-z-]+):", text("Makefile"), flags=re.MULTILINE))
    for link in re.findall(r"\]\((?!http)([^)#]+)", text(name)):
        assert (ROOT / name).parent.joinpath(link).exists(), link


def test_tests_that_security_names_exist() -> None:
    names = re.findall(r"`(tests/[\w/]+\.py)`", text("SECURITY.md"))
    assert names
    for name in names:
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("name", [*(str(path.relative_to(ROOT)) for path in FORMS), ".github/pull_request_template.md"])
def test_forms_ask_for_what_doctor_says(name: str) -> None:
    if not name.endswith("config.yml"):
        assert "prefd doctor --json" in text(name)
    if name.endswith(".yml"):
        assert isinstance(YAML(typ="safe").load(text(name)), dict)
    assert CliRunner().invoke(cli, ["doctor", "--help"]).stdout.count("--json") >= 1


def test_hooks_run_what_is_installed() -> None:
    config = ROOT / ".pre-commit-config.yaml"
    subprocess.run([sys.executable, "-m", "pre_commit", "validate-config", config], check=True, timeout=60)
    for repository in YAML(typ="safe").load(config)["repos"]:
        for hook in repository["hooks"]:
            program = Path(hook["entry"].split()[0])
            assert program.parent == Path(".venv/bin")
            assert shutil.which(program.name, path=str(Path(sys.executable).parent)), program


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_a_benchmark_that_is_not_there_is_answered_with_those_there_are() -> None:
    recipe = subprocess.run(
        ["make", "-n", "-C", ROOT, "bench", "WHICH=nothing"], capture_output=True, text=True, check=True
    )
    listed = re.search(r"make bench WHICH=(\S+)'", recipe.stdout)
    assert listed
    assert {f"bench_{name}.py" for name in listed[1].split("|")} == {
        path.name for path in (ROOT / "benchmarks").glob("bench_*.py")
    }


def test_version_is_that_of_the_installed_package() -> None:
    assert metadata.version("prefd") == tomllib.loads(text("pyproject.toml"))["project"]["version"]
