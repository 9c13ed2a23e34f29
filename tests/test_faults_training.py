"""A bounded share of training's fault tests; `make faults` runs all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults_training import SETTINGS, run

pytestmark = pytest.mark.slow

SAME = {"did not end": 0, "another adapter": 0, "other losses": 0, "left over": 0}


def test_a_killed_run_ends_with_the_adapter_of_its_unbroken_twin(tmp_path: Path) -> None:
    counts = run("kills", tmp_path / "run", next(name for name in SETTINGS if name.startswith("dora, muon")), 2)
    assert counts["kills"] >= 2
    assert counts.items() >= SAME.items()


def test_a_kill_between_the_files_of_a_checkpoint_and_a_damaged_one_change_nothing(tmp_path: Path) -> None:
    settings = next(name for name in SETTINGS if "early stopping" in name)
    counts = run("damage", tmp_path / "run", settings, 1)
    assert counts.items() >= (SAME | {"damaged": 1, "not said": 0}).items()
    counts = run("writes", tmp_path / "run", settings, 1)
    assert counts.items() >= (SAME | {"kills": 1}).items()
