"""The benchmarks, which nobody runs on every change, still fit the code that they measure."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

from support.paths import ROOT

FOLDER = ROOT / "benchmarks"
SCRIPTS = sorted(FOLDER.glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_finds_all_that_it_imports(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.stem.startswith("peer_"):
        pytest.skip("needs the peer that it runs")
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    assert callable(module.main)


@pytest.mark.parametrize(
    "path", [path for path in SCRIPTS if "\nblas.preload()" in path.read_text()], ids=lambda path: path.stem
)
def test_a_benchmark_imports_no_model_library_before_its_blas(path: Path) -> None:
    """MLX takes the BLAS that is there when it is imported, and without one multiplies 40 times slower."""
    body = ast.parse(path.read_text()).body
    preloaded = next(index for index, node in enumerate(body) if ast.unparse(node) == "blas.preload()")
    modules = {node.module for node in body[:preloaded] if isinstance(node, ast.ImportFrom) and node.module}
    modules |= {alias.name for node in body[:preloaded] if isinstance(node, ast.Import) for alias in node.names}
    assert {name for name in modules if name.split(".")[0] not in sys.stdlib_module_names} == {"prefd.daemon.machine"}
