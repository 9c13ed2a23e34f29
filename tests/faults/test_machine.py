"""Trouble of the machine that passes costs no job; `make faults` tries it with 50 jobs each."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.daemon_machine import TROUBLES, machine
from support.random_operations import wrong


@pytest.mark.parametrize("fault", TROUBLES)
def test_jobs_wait_through_trouble_of_the_machine_and_all_run_in_their_order(fault: str, tmp_path: Path) -> None:
    result = machine(fault, tmp_path, 4)
    assert result["counts"]["done"] == result["counts"]["jobs"]
    assert wrong(result["counts"]) == {}
