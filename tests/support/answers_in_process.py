"""What commands ask of a worker, answered without one: by the same code, in this process, which has imported it all."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest

from prefd.daemon.machine.processes import WORKER
from prefd.daemon.worker.__main__ import ANSWERS, main


def answer_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `subprocess.run` of the worker's own command with a task that is a question run that task here."""
    real: Callable[..., subprocess.CompletedProcess[Any]] = subprocess.run

    def run(command: Sequence[str], **more: Any) -> subprocess.CompletedProcess[Any]:
        arguments = list(command[len(WORKER) :])
        if tuple(command[: len(WORKER)]) != WORKER or arguments[0] not in ANSWERS:
            return real(command, **more)
        with (
            monkeypatch.context() as patch,
            redirect_stdout(io.StringIO()) as out,
            redirect_stderr(io.StringIO()) as err,
        ):
            given = io.BytesIO(str(more.get("input", "")).encode())
            patch.setattr(sys, "stdin", io.TextIOWrapper(given, encoding="utf-8"))
            code = main(arguments)
        said = [stream.getvalue() if more.get("encoding") else stream.getvalue().encode() for stream in (out, err)]
        return subprocess.CompletedProcess(command, code, *said)

    monkeypatch.setattr(subprocess, "run", run)
