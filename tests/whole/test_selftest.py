"""The whole `prefd selftest`, as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prefd.daemon.health.selftest.running import list_checks


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_every_check_passes_on_this_machine_and_nothing_is_left(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "prefd.daemon.cli", "--home", str(tmp_path / "home"), "selftest", "--json"]
    child = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"TMPDIR": str(tmp_path)}, check=False
    )
    checks = json.loads(child.stdout)["checks"]
    assert {check["name"]: check["outcome"] for check in checks} == dict.fromkeys(list_checks(), "ok"), checks
    assert child.returncode == 0
    assert list(tmp_path.iterdir()) == []
