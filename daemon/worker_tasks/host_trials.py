"""What a worker is asked to try a machine that ranks may run on, and what it finds, a line for each thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from prefd.daemon.home.hosts import Host
from prefd.daemon.text.document_model import DocumentModel
from prefd.daemon.worker_tasks.inputs import WorkerInput


class HostTrial(WorkerInput):
    """HostTrial names the machine, and the models that are to be the same there."""

    own: Host
    """This machine, as the hosts list it."""
    host: Host
    models: Sequence[str]


class TrialFinding(DocumentModel):
    """TrialFinding is what became of one thing that was tried."""

    level: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str = ""
