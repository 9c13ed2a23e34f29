"""The benchmarks, which nobody runs on every change, still fit the code that they measure."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from support.paths import ROOT

FOLDER = ROOT / "benchmarks"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
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
