"""A bounded share of the sequences of copies, restores, moves and kills; `make faults` runs all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.homes import run, wrong

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_sequence_of_copies_restores_moves_and_kills_mixes_homes(tmp_path: Path, seed: int) -> None:
    found = run(tmp_path / "homes", seed)
    assert wrong(found["counts"]) == {}
    assert found["seen"]["specs"] >= 3
