"""CheckResult is what one check of `prefd selftest` found, whether a worker made it or the command itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from prefd.daemon.text.document_model import DocumentModel
from prefd.daemon.worker_tasks.inputs import WorkerInput

Outcome = Literal["ok", "failed", "skipped"]


class CheckResult(DocumentModel):
    """CheckResult holds the outcome of one check, with the numbers that it was judged by."""

    name: str = ""
    outcome: Outcome
    finding: str
    """A sentence with what was measured; where it is skipped, why."""
    numbers: Mapping[str, float | int | str | bool | None] = {}
    remedy: str = ""
    """What to do where it failed."""
    seconds: float = 0.0

    def named(self, name: str, seconds: float) -> CheckResult:
        """Return a copy with the check's name and how long it took."""
        return self.model_copy(update={"name": name, "seconds": round(seconds, 1)})


class CheckInput(WorkerInput):
    """CheckInput is the input of `selftest`: the check to make, on random models or on one of the user's own."""

    check: str
    model: str | None = None
    """A folder or a hub id; None: random models, made on the spot."""


class RandomModelInput(WorkerInput):
    """RandomModelInput is the input of `random-model`: the folder to write one to."""

    folder: str


class WrittenModel(DocumentModel):
    """WrittenModel is the answer of `random-model`."""

    model: str
    data: str
    """A file of pairs."""
