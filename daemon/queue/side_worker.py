"""Starts the process of a task beside a job's phases, such as a report or the scoring of its pairs, and says how it ended.

Such a process reads one JSON document from its input, and where it cannot do its task its output is a JSON document with the `error`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from prefd.daemon.errors import PrefdError
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.interpreter import build_environment
from prefd.daemon.machine.processes import describe_exit, find_last_words
from prefd.daemon.runs.worker_log import read_tail


class NoSideWorker(PrefdError):
    """No process could be started. The message says why."""


async def start_side_worker(
    worker: Sequence[str],
    task: str,
    home: Home,
    job_id: int,
    log: BinaryIO,
    environment: Mapping[str, str],
    descriptors: Sequence[int] = (),
) -> asyncio.subprocess.Process:
    """Start a worker on `task` of a job, in a session of its own, with these `descriptors` and what it logs in `log`.

    Raises `NoSideWorker` where none can be started.
    """
    try:
        return await asyncio.create_subprocess_exec(
            *(*worker, task, "--home", str(home.root), "--job", str(job_id)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            pass_fds=descriptors,
            env=os.environ | build_environment() | dict(environment),
        )
    except OSError as error:
        raise NoSideWorker(f"cannot start a worker ({worker[0]}): {error.strerror or error}") from error


def read_error(output: bytes) -> str | None:
    """Read why the task could not be done, in the worker's own words; None where it has not said so."""
    try:
        return str(json.loads(output)["error"])
    except (ValueError, KeyError, TypeError):
        return None


def describe_silent_end(code: int, log: Path, since: int = 0) -> str:
    """Describe how a worker ended that has not said so itself: its exit code, and its last words behind byte `since` of its log."""
    words = find_last_words(read_tail(log, since=since))
    return f"its process ended with {describe_exit(code)}{f': {words}' if words else ''}"
