"""Jobs as a worker finds them: a home, a run folder with a frozen spec, and the phases run in this process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from prefd.daemon.home import Home
from prefd.daemon.rundir import Outcome, write_json
from prefd.daemon.spec import JobSpec
from prefd.daemon.worker.job import Job
from prefd.daemon.worker.precompute import precompute
from prefd.daemon.worker.training import train


def make_job(root: Path, job_id: int = 1, **spec: Any) -> Job:
    """A claimed job under the home `root`. `spec` is what its file would say."""
    home = Home(root)
    home.create()
    folder = home.job(job_id)
    folder.mkdir(exist_ok=True)
    write_json(folder / "spec.json", JobSpec.model_validate(spec).model_dump(exclude_unset=True))
    return Job.load(home, job_id)


def run_precompute(job: Job, stop: threading.Event | None = None) -> Outcome:
    return precompute(job, stop or threading.Event())


def run_training(job: Job, stop: threading.Event | None = None) -> Outcome:
    return train(job, stop or threading.Event())
