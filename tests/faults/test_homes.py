"""A sequence of copies, restores, moves and kills, thoroughly some more; `make faults` runs all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import SUPPORT

pytestmark = pytest.mark.slow
PROGRAM = (
    "import json, sys; from pathlib import Path; sys.path.insert(0, sys.argv[3])\n"
    "from faults.home_judge import wrong; from faults.homes import run\n"
    "found = run(Path(sys.argv[1]), int(sys.argv[2]))\n"
    "print(json.dumps({'wrong': wrong(found['counts']), 'specs': found['seen']['specs']}))"
)
"""A process of its own, without threads: the daemons are forks of it."""
MIXED = 10
"""A sequence with copies, restores, moves and kills, and with daemons whose home goes away."""


@pytest.mark.parametrize("seed", [MIXED, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in (1, 2, 3))])
def test_no_sequence_of_copies_restores_moves_and_kills_mixes_homes(tmp_path: Path, seed: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "homes"), str(seed), str(SUPPORT.parent)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["wrong"] == {}
    assert result["specs"] >= 3
