"""A bounded share of training's fault tests; `make faults` runs all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.training import SETTINGS, run


@pytest.mark.slow
@pytest.mark.thorough  # test_daemon.py kills, training/test_checkpoint.py damages
def test_killed_while_training_and_writing_or_damaged_it_ends_as_its_unbroken_twin(tmp_path: Path) -> None:
    settings = next(name for name in SETTINGS if name.startswith("dora, muon"))
    counts = run("kills+writes+damage", tmp_path / "run", settings, 1)
    assert counts["kills"] >= 2
    assert counts["steps repeated that were over"] == 0
    assert counts["damaged"] == 1
    assert (counts["did not end"], counts["another adapter"], counts["other losses"]) == (0, 0, 0)
    assert (counts["left over"], counts["not said"]) == (0, 0)
