"""The benchmarks, which nobody runs on every change, still fit the code that they measure."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from support.paths import ROOT

FOLDER = ROOT / "benchmarks"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def load_script(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that a script is, with those beside it within reach."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.thorough
def test_the_gpus_benchmark_runs_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a CPU, with a tiny model, and in this process; whoever has a card gets its table at the first try."""
    module = load_script(FOLDER / "bench_gpu.py", monkeypatch)

    def measure(value: Any, model: Path, precision: str, seconds: float) -> Any:
        value.seconds = seconds
        return module.measure_cells(str(model), module.PRECISIONS[precision], value.workloads, value.ways, value)

    monkeypatch.setattr(module, "run_child", measure)
    options = ["--toy", "--steps", "1", "--batch-size", "2", "--workloads", "even", "--precisions", "4-bit"]
    options += ["--ways", "plain", "ahead", "adapter-off", "peer"]
    monkeypatch.setattr(sys, "argv", ["bench_gpu.py", *options, "--markdown", str(tmp_path / "gpu.md")])
    monkeypatch.setattr(sys.modules["gpu_cells"], "PEERS", tmp_path / "none")
    module.main()
    text = (tmp_path / "gpu.md").read_text()
    assert text in capsys.readouterr().out
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith(("| prefd", "| +", "| the same"))]
    assert len(rows) == 3
    for _, rate, times, memory, evaluations, operations in rows:
        assert float(rate.replace(",", "")) > 0 < float(times)
        assert float(memory) >= 0 < int(evaluations)
        assert int(operations.strip(" |").replace(",", "")) > 0
    assert text.count("`make bench-gpu` puts it there") == 1
    assert module.describe_machine() in text


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_finds_all_that_it_imports(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.stem.startswith("peer_"):
        pytest.skip("needs the peer that it runs")
    module = load_script(path, monkeypatch)
    assert callable(getattr(module, "main", None)) or "\nif __name__ ==" not in path.read_text()


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
