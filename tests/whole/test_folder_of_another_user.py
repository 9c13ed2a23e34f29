import functools
import subprocess
import sys
from pathlib import Path

import pytest

from support.programs import program, program_environment

APART = ("unshare", "--user", "--map-root-user", "--mount")
"""A mount table and limits of its own, without being root."""


@functools.cache
def why_not() -> str | None:
    """Why this machine gives a process nothing of its own."""
    if sys.platform != "linux":
        return "only Linux has them"
    mounting = "mount -t tmpfs tmpfs /mnt && echo 1000 > /proc/sys/user/max_inotify_watches"
    try:
        tried = subprocess.run([*APART, "sh", "-c", mounting], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no unshare here"
    return tried.stderr.strip() if tried.returncode else None


@pytest.mark.slow
@pytest.mark.parametrize("what", ["unmounted", "full", "no_instances", "no_watches"])
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
