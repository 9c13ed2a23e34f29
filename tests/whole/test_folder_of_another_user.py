import subprocess
from pathlib import Path

import pytest

from support.programs import program, program_environment
from support.thinned import thin
from support.unshared import APART, why_not


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", thin(["unmounted", "full", "no_instances", "no_watches"], ("unmounted", "full").__contains__)
)  # daemon/inbox/test_watcher.py has a folder that cannot be watched
def test_it_is_survived_and_no_file_is_lost(tmp_path: Path, what: str) -> None:
    if reason := why_not():
        pytest.skip(f"mounts and limits of its own: {reason}")
    done = subprocess.run(
        [*APART, *program("support.without_privileges", what, tmp_path)],
        env=program_environment(PYTHONWARNINGS="error"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
