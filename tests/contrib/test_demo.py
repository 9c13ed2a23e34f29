"""contrib/demo/demo.py, on the tiny model: what `make demo` does, in seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from prefd.daemon.home import lock
from prefd.daemon.home.layout import Home
from support.contrib_module import CONTRIB


def demo(home: Path, model: Path, pairs: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, CONTRIB / "demo" / "demo.py", "--home", home, "--model", model, "--pairs", pairs]
    command += ["--iters", "3", "--prompt", "the other one"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


def row(text: str, name: str) -> list[str]:
    """The cells of the table's row `name`."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"│ {name} ")]
    return [cell.strip() for cell in line.strip("│").split("│")[1:]]


@pytest.mark.slow
@pytest.mark.thorough  # whole/test_end_to_end.py has its jobs; CI runs the demo itself
def test_second_job_scores_nothing_and_the_adapters_answer(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    twice = json.loads(pairs_file.read_text().splitlines()[0]) | {"rejected": "Two of the other."}
    with pairs_file.open("a") as file:
        file.write(json.dumps(twice) + "\n")
    done = demo(home, tiny_model, pairs_file)
    assert done.returncode == 0, done.stderr
    needed_count, _ = row(done.stdout, "completions needed")
    assert row(done.stdout, "scored by the reference") == [needed_count, "0"]
    assert row(done.stdout, "duplicates avoided") == ["1", "1"]
    assert [cell.split()[0] for cell in row(done.stdout, "loss, first and last step")] == ["0.693", "25.000"]
    for loss in ("sigmoid", "ipo"):
        (adapter,) = [line for line in done.stdout.splitlines() if line.startswith(f"adapter of {loss}: ")]
        assert (Path(adapter.partition(": ")[2]) / "adapters.safetensors").exists()
        assert f"  after {loss}:" in done.stdout
    assert lock.find_holder(Home.locate(home)) is None


@pytest.mark.slow
@pytest.mark.thorough
def test_failed_job_is_explained_and_the_daemon_stopped(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    pairs_file.write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "b"}) + "\n")
    done = demo(home, tiny_model, pairs_file)
    assert done.returncode == 1
    assert "the demo failed: job 1 (sigmoid) failed" in done.stderr
    assert "identical sides" in done.stderr
    assert lock.find_holder(Home.locate(home)) is None


def test_missing_model_says_how_to_make_it(home: Path, tmp_path: Path, pairs_file: Path) -> None:
    done = demo(home, tmp_path / "no-model", pairs_file)
    assert done.returncode == 1
    assert "run `make model`" in done.stderr
    assert not home.exists()
