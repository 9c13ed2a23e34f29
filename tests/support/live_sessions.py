"""Sessions of `prefd serve` as their worker finds them: a run folder, request files, and the phase run in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefd.daemon.machine.files import write_json
from prefd.daemon.runs.phase_outcomes import LiveOutcome
from prefd.daemon.timing import USUAL, Timing
from prefd.daemon.worker.errors import Stopped
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.live.answering import Answering
from prefd.daemon.worker.live.loading import load_session
from prefd.daemon.worker.live.serving import read_session, serve_session
from prefd.daemon.worker_tasks.live_requests import Datum, LiveRequest, LiveSession
from support.jobs_on_disk import make_job

SESSION = "0123456789abcdef" * 2
MODEL_ID = f"{SESSION}:train:0"


@dataclass
class LiveFolderOnDisk:
    """A session whose server is the test: it writes requests, and reads the results that the worker leaves."""

    job: RunningJob
    last_request: int = 0
    halt: threading.Event = field(default_factory=threading.Event)
    timing: Timing = USUAL

    def ask(self, kind: type[LiveRequest], **values: Any) -> int:
        """Writes the next request, and gives its number."""
        self.last_request += 1
        request = kind(n=self.last_request, **values)
        write_json(self.job.run.live.request(self.last_request), json.loads(request.model_dump_json()))
        return self.last_request

    def serve(self, to_the_end: bool = False) -> LiveOutcome | None:
        """Runs the worker until all that was asked is done: then the client is gone, or else the worker is stopped."""
        if to_the_end:
            write_json(self.job.run.live.closed, {"reason": "finished", "at": 0})
            return serve_session(self.job, threading.Event(), self.timing)
        try:
            serve_session(self.job, StopWhenDone(self), self.timing)
        except Stopped:
            return None
        raise AssertionError("it ended by itself")

    def result(self, n: int) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.job.run.live.result(n).read_bytes())
        return document

    def results(self) -> list[dict[str, Any]]:
        return [self.result(n) for n in range(1, self.last_request + 1)]


class StopWhenDone(threading.Event):
    """An event that is found set once the last request has its result."""

    def __init__(self, folder: LiveFolderOnDisk) -> None:
        super().__init__()
        self.folder = folder

    def is_set(self) -> bool:
        return self.folder.job.run.live.result(self.folder.last_request).exists()


def make_session(home: Path, model: Path, job_id: int = 1, **settings: Any) -> LiveFolderOnDisk:
    """A session on `model`, with an adapter of rank 4 unless `lora` says otherwise."""
    lora = settings.pop("lora", {"rank": 4, "seed": 3})
    live = {"session_id": SESSION, "model_id": f"{SESSION}:train:{job_id}", "base_model": "local/tiny"}
    job = make_job(home, job_id, model=str(model), live={**live, "lora": lora})
    session = LiveSession.model_validate({**live, "model": str(model), "lora": lora, **settings})
    job.run.live.create()
    write_json(job.run.live.session, json.loads(session.model_dump_json()))
    return LiveFolderOnDisk(job)


def load(session: LiveFolderOnDisk) -> Answering:
    """The session as its worker has it before the first request."""
    live = session.job.run.live
    return load_session(session.job, live, read_session(live), threading.Event()).answering


def make_datum(ids: Sequence[int], weights: Sequence[float] | None = None) -> Datum:
    """The datum that predicts every token of `ids` but the first."""
    return Datum(tokens=list(ids[:-1]), targets=list(ids[1:]), weights=weights)
