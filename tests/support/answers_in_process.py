"""What commands ask of a worker, answered without one: by the same code, in this process, which has imported it all."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.machine.interpreter import WORKER
from prefd.daemon.specs import listing_child, plugin_listing
from prefd.daemon.specs.listing_child import ChildEnd
from prefd.daemon.timing import USUAL, Timing
from prefd.daemon.worker.__main__ import ANSWERS, main


def answer_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `subprocess.run` of the worker's own command with a task that is a question run that task here, and list plugins here."""
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
            input_stream = io.BytesIO(str(more.get("input", "")).encode())
            patch.setattr(sys, "stdin", io.TextIOWrapper(input_stream, encoding="utf-8"))
            code = main(arguments)
        streams = [stream.getvalue() if more.get("encoding") else stream.getvalue().encode() for stream in (out, err)]
        return subprocess.CompletedProcess(command, code, *streams)

    monkeypatch.setattr(subprocess, "run", run)

    def list_here(
        command: Sequence[str],
        settings: HandedSettings,
        cancelled: threading.Event,
        notice_silence: Callable[[ChildEnd], None] = lambda end: None,
        timing: Timing = USUAL,
    ) -> ChildEnd:
        if tuple(command[: len(WORKER)]) != WORKER:
            return listing_child.run_child(command, settings, cancelled, notice_silence, timing)
        with monkeypatch.context() as patch, redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()):
            for name, value in settings.environment().items():
                patch.setenv(name, value)
            main(list(command[len(WORKER) :]))
        return ChildEnd(answer=json.loads(out.getvalue().splitlines()[-1]))

    monkeypatch.setattr(plugin_listing, "run_child", list_here)
