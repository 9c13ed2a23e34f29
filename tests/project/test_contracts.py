"""The import contracts in pyproject.toml bite: for each of them, an import that breaks it is planted, and is found.

Also: every folder with modules is installed, and no two public classes share a name.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS: list[dict[str, Any]] = PROJECT["tool"]["importlinter"]["contracts"]
FOLDERS: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]
"""Package → folder."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What import-linter prints of a copy of the packages in which one import breaks each contract."""
    root = tmp_path_factory.mktemp("planted")
    shutil.copy(ROOT / "pyproject.toml", root)
    for package, folder in FOLDERS.items():
        shutil.copytree(ROOT / folder, root / Path(*package.split(".")), ignore=shutil.ignore_patterns("__pycache__"))
    for contract in CONTRACTS:
        for importer, imported in breach(contract):
            with file_of(root, importer).open("a", encoding="utf-8") as file:
                file.write(f"\nimport {imported}\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def breach(contract: dict[str, Any]) -> list[tuple[str, str]]:
    """(importer, imported) of imports that break the contract."""
    match contract["type"]:
        case "layers":
            container = next((f"{name}." for name in contract.get("containers", ())), "")
            lowest, highest = (contract["layers"][place].split("|")[0].strip(" ()") for place in (-1, 0))
            return [(container + lowest, container + highest)]
        case "forbidden":
            return [(contract["source_modules"][0], contract["forbidden_modules"][0])]
        case "protected":
            return [("prefd.plugins.types", contract["protected_modules"][0])]
        case "acyclic_siblings":
            first, second = children(contract["ancestors"][0])[:2]
            return [(first, second), (second, first)]
        case kind:
            raise AssertionError(f"no import is known that breaks a contract of type {kind}: add one here")


def children(package: str) -> list[str]:
    """The folders and modules right below the package."""
    folder = ROOT / FOLDERS[package]
    names = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    return [f"{package}.{name}" for name in sorted(names - {"__init__"})]


def file_of(root: Path, module: str) -> Path:
    path = root / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract["name"])
def test_a_planted_import_breaks_the_contract_and_is_named(planted: str, contract: dict[str, Any]) -> None:
    name = contract["name"]
    assert f"{name} BROKEN" in planted
    (section,) = re.findall(
        rf"^{re.escape(name)}\n-+\n(.*?)(?=^[^\n]+\n-+$|\Z)", planted, flags=re.DOTALL | re.MULTILINE
    )
    lines = [f"{importer} -> {imported}" for importer, imported in breach(contract)]
    for ancestor in contract.get("ancestors", ()):  # a circle is told in names below the ancestor, and cut at one place
        lines += [line.replace(ancestor, "") for line in lines]
    assert any(line in section for line in lines), section


def test_every_folder_with_modules_is_installed() -> None:
    packages = {
        ".".join([package, *path.parent.relative_to(ROOT / folder).parts])
        for package, folder in FOLDERS.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(packages)


def test_no_two_public_classes_share_a_name() -> None:
    homes = defaultdict[str, list[str]](list)
    for folder in FOLDERS.values():
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.parse(path.read_bytes()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    homes[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(homes) > 100
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}
