"""contrib/setup and the Makefile: what a fresh machine runs first."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.contrib_module import CONTRIB

ROOT = CONTRIB.parent


def make_venv(venv: Path, python: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CONTRIB / "setup" / "venv.sh", venv],
        env=os.environ | {"PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=False,
    )


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_older_python_is_named_with_the_remedy(tmp_path: Path) -> None:
    old = script(tmp_path / "python3", 'if [ "$1" = --version ]; then echo Python 3.9.6; else exit 1; fi')
    done = make_venv(tmp_path / "venv", old)
    assert done.returncode == 1
    assert f"prefd needs Python 3.11 or newer, and {old} is Python 3.9.6." in done.stderr
    assert "apt-get install python3-venv" in done.stderr
    assert "make PYTHON=" in done.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(
    ("machine", "release", "message"),
    [
        ("1", "15.2", "is made for Intel, and MLX needs Apple silicon"),
        ("0", "13.7.1", "MLX needs macOS 14 or newer, and this is 13.7.1."),
        ("0", "14.0", ""),
    ],
)
def test_a_mac_that_mlx_cannot_run_on_is_named(tmp_path: Path, machine: str, release: str, message: str) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    script(programs / "uname", "echo Darwin")
    script(programs / "sw_vers", f"echo {release}")
    code = f'case "$2" in *arm64*) exit {machine} ;; venv) mkdir -p "$3/bin" ;; esac'
    fake = script(programs / "python3", code)
    done = subprocess.run(
        [CONTRIB / "setup" / "venv.sh", tmp_path / "venv"],
        env=os.environ | {"PYTHON": str(fake), "PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (message == ""), done.stderr
    assert message in done.stderr


def test_missing_python_is_named(tmp_path: Path) -> None:
    done = make_venv(tmp_path / "venv", tmp_path / "nothing")
    assert done.returncode == 1
    assert f"{tmp_path / 'nothing'} is missing" in done.stderr


def test_working_environment_is_kept(tmp_path: Path) -> None:
    """The environment these tests run in has a new enough Python and pip: nothing is made."""
    done = make_venv(Path(sys.prefix), tmp_path / "nothing")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_broken_environment_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    script(tmp_path / "venv" / "bin" / "python", "exit 1")
    (tmp_path / "venv" / "left over").touch()
    # Stands for a Python with ensurepip: makes the folder it is told to.
    fake = script(tmp_path / "python3", 'if [ "$2" = venv ]; then mkdir -p "$3/bin"; fi')
    done = make_venv(tmp_path / "venv", fake)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "venv" / "bin").is_dir()
    assert not (tmp_path / "venv" / "left over").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_says_what_it_can_do() -> None:
    done = subprocess.run(["make", "-s", "-C", ROOT], capture_output=True, text=True, check=True)
    listed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  make ")]
    assert {
        *(
            "demo",
            "check",
            "test",
            "test-all",
            "test-fast",
            "coverage",
            "lint",
            "format",
            "hooks",
            "bench",
            "faults",
            "release",
        ),
        *("model", "blas", "venv", "help"),
    } <= set(listed)
