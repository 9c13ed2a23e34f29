"""The plugin of the menu bar: its first line is what stands there, and no line of prefd's is read as a setting of SwiftBar's."""

import os
import subprocess
from pathlib import Path

import pytest

from support.contrib_module import CONTRIB

RUNS = "daemon  running, pid 7\njobs    1 training\nnow     job 3 (a|b): training, 4/12 steps\n"


def show(tmp_path: Path, answer: str, code: int) -> list[str]:
    """What the plugin prints, where `prefd status` prints `answer`."""
    program = tmp_path / ".local" / "bin" / "prefd"
    program.parent.mkdir(parents=True)
    (tmp_path / "answer").write_text(answer)
    program.write_text(f'#!/bin/sh\n[ "$1" = status ] || exit 9\ncat "{tmp_path / "answer"}"\nexit {code}\n')
    program.chmod(0o755)
    done = subprocess.run(
        [CONTRIB / "swiftbar" / "prefd.30s.sh"],
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


def test_the_job_that_runs_stands_in_the_menu_bar(tmp_path: Path) -> None:
    first, rule, *menu = show(tmp_path, RUNS, 0)
    assert (first, rule) == ("prefd ▶ job 3 (a/b): training, 4/12 steps", "---")
    assert menu[2] == "now     job 3 (a/b): training, 4/12 steps | font=Menlo trim=false"
    assert menu[-3].startswith("Pause the queue | shell=prefd param1=pause")
    assert menu[-1].startswith("Show the folder | shell=prefd param1=open")


@pytest.mark.parametrize("code", [1, 4])
def test_without_a_daemon_it_offers_to_start_one(tmp_path: Path, code: int) -> None:
    first, *menu = show(tmp_path, "", code)
    assert first == "prefd ✕"
    assert menu[-1].startswith("Start it | shell=prefd param1=start param2=--detach")
