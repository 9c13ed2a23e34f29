"""A command of prefd that is run in a child for what would take much memory to know here, and the words of one that failed."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from prefd.daemon.control.api.endpoint import Refusal
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.interpreter import PYTHON, UTF8_STREAMS

Done = subprocess.CompletedProcess[str]


def run_command(home: Home, *arguments: str) -> Done:
    """Runs `prefd --home HOME …` to its end."""
    command = [*PYTHON, "-m", "prefd.daemon.cli", "--home", str(home.root), *arguments]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=os.environ | UTF8_STREAMS, text=True, check=False
    )


def ask_command(home: Home, *arguments: str) -> dict[str, Any]:
    """Returns what a command prints with --json. Raises Refusal (500) with its words where it prints none."""
    done = run_command(home, *arguments, "--json")
    try:
        document: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise make_refusal(500, done, arguments) from None
    return document


def make_refusal(status: int, done: Done, arguments: tuple[str, ...]) -> Refusal:
    """Makes the refusal that tells what a command has said of its failure."""
    words = done.stderr.strip().removeprefix("error: ").splitlines()
    return Refusal(
        status, *(words or [f"`prefd {' '.join(arguments)}` said nothing, and ended with {done.returncode}"])
    )
