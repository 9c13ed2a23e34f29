"""Puts a question of the self-test to a worker: a process of its own for each, so that none disturbs another's memory."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TypeVar

from prefd.daemon.errors import PrefdError, WorkerExit
from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.machine.interpreter import SAME_HASHES, UTF8_STREAMS, WORKER
from prefd.daemon.machine.processes import describe_exit, find_last_words
from prefd.daemon.text.document_model import DocumentModel
from prefd.daemon.worker_tasks.inputs import WorkerInput

Answer = TypeVar("Answer", bound=DocumentModel)


class Refused(PrefdError):
    """Raised with a worker's own words where it says that it was asked for what cannot be had: a model that is not there."""


class NoAnswer(PrefdError):
    """Raised where a worker ends without an answer, or gives none in time; the message has its last words."""


def ask_worker(task: str, request: WorkerInput, answer: type[Answer], seconds: float, device: str = "auto") -> Answer:
    """Have a worker of no home answer `task`, which computes on `device`. Raises `NoAnswer` and `Refused`."""
    settings = HandedSettings(device=device)
    try:
        child = subprocess.run(
            [*WORKER, task],
            input=json.dumps(request.model_dump(mode="json")),
            capture_output=True,
            encoding="utf-8",
            env=os.environ | {"PREFD_PARENT": str(os.getpid())} | UTF8_STREAMS | SAME_HASHES | settings.environment(),
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"no answer within {seconds:g} s") from None
    try:
        document = json.loads(child.stdout)
        if child.returncode == WorkerExit.FAILED:
            raise Refused(str(document["error"]))
        return answer.model_validate(document)
    except (ValueError, KeyError, TypeError):
        words = find_last_words(child.stderr)
        raise NoAnswer(
            f"the worker ended with {describe_exit(child.returncode)}{f': {words}' if words else ''}"
        ) from None
