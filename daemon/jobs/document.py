"""`job_document` describes one job as one JSON object: its row, its spec, its history and the results in its folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefd.daemon.runs.phases import PHASES
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.snapshot import read_stock

if TYPE_CHECKING:
    from prefd.daemon.jobs.table import Event, Job
    from prefd.daemon.specs.job_spec import JobSpec

OUTPUTS = ("adapter", "fused", "peft")
"""The folders of a run that hold its results."""


def job_document(job: Job, spec: JobSpec | None, history: list[Event], run: RunDir) -> dict[str, Any]:
    """Build the JSON object that `prefd show --json` prints and `GET /v1/jobs/{job_id}` answers."""
    progress = run.progress()
    paths = list_outputs(job, run)
    return {
        "job": job.to_json(),
        "spec": None if spec is None else spec.model_dump(mode="json"),
        "frozen": None if (stock := read_stock(run)) is None else stock.to_json(),
        "history": [event._asdict() for event in history],
        **{phase: None if (outcome := run.outcome(phase)) is None else outcome.to_json() for phase in PHASES},
        "progress": None if progress is None else asdict(progress),
        **{name: str(paths[name]) if name in paths else None for name in OUTPUTS},
        "run": str(run.root),
    }


def list_outputs(job: Job, run: RunDir) -> dict[str, Path]:
    """Return the result folders of a job that is done, by name; none for any other job."""
    folders: dict[str, Path] = {name: getattr(run, name) for name in OUTPUTS}
    return {name: folder for name, folder in folders.items() if job.state == "done" and folder.is_dir()}
