"""What the benchmarks of the daemon share: its process as a user starts it, and the rows of a table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import psutil

from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config
from support import fake_worker

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
"""What is installed has its files of bytecode: without them each process would compile prefd anew."""
PREFD = (sys.executable, "-P", "-m", "prefd.daemon.cli")
SETTLE_MS = 1000 * Config().watch.settle_seconds
Row = tuple[str, str, str, bool]
"""What, value, goal, whether it is met."""


@contextmanager
def daemon(home: Home) -> Iterator[psutil.Process]:
    """`prefd start`, once it answers and has settled."""
    with (home.root.parent / "log").open("wb") as log:
        child = subprocess.Popen([*PREFD, "--home", str(home.root), "start"], stderr=log, stdout=log)
    try:
        fake_worker.wait_for(lambda: _answers(home), 60)
        time.sleep(3)
        yield psutil.Process(child.pid)
    finally:
        subprocess.run([*PREFD, "--home", str(home.root), "stop"], check=False, capture_output=True)
        child.wait(30)


def _answers(home: Home) -> bool:
    status = subprocess.run([*PREFD, "--home", str(home.root), "status", "--json"], check=False, capture_output=True)
    return status.returncode == 0 and json.loads(status.stdout)["catalog"]["losses"] > 0


def list_rows(rows: list[Row]) -> list[str]:
    """The table of `rows`, in lines of markdown."""
    lines = ["| | found | goal | |", "|---|---|---|---|"]
    return lines + [
        f"| {what} | {value} | {goal} | {goal and ('met' if met else 'missed')} |" for what, value, goal, met in rows
    ]


def tell(what: str) -> None:
    print(what, file=sys.stderr)
