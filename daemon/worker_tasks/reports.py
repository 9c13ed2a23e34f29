"""The input of a worker that reports a job to one tool, and what it answers when it is through.

The first line of its input is a `ReportInput`. A later line is the job's end; where the input ends without one, the job goes on later.
"""

from __future__ import annotations

from prefd.daemon.runs.phases import EndState
from prefd.daemon.text.document_model import DocumentModel
from prefd.daemon.worker_tasks.inputs import WorkerInput


class JobEnd(WorkerInput):
    """JobEnd says that the job has ended, and how."""

    state: EndState
    reason: str = ""

    def to_line(self) -> bytes:
        """Return the line that tells it."""
        return self.model_dump_json().encode() + b"\n"


class ReportInput(WorkerInput):
    """ReportInput is the input of `report`."""

    job: int
    """Its number."""
    to: str
    """The reporter's name."""
    project: str
    call_seconds: float = 120.0
    """For each call of the reporter to return."""
    end: JobEnd | None = None
    """How the job has ended, where that is known already: no line is waited for then."""


class Reported(DocumentModel):
    """Reported is the answer of `report`."""

    rows: int
    """Rows that were logged by now, by this process and those before it."""
    place: str
