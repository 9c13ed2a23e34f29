"""JobDetails is all there is to know of one job: its row, its spec, its history and the results in its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefd.daemon.jobs.lost_folder import find_lost_folder
from prefd.daemon.runs.phases import PHASES
from prefd.daemon.runs.report_files import ReportState, list_reports
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.snapshot import Stock, read_stock

if TYPE_CHECKING:
    from prefd.daemon.jobs.job import Event, Job
    from prefd.daemon.jobs.queries import JobQueries
    from prefd.daemon.runs.phase_outcomes import Outcome
    from prefd.daemon.runs.phases import Phase
    from prefd.daemon.runs.run_folder import Progress
    from prefd.daemon.specs.job_spec import JobSpec

OUTPUTS = ("adapter", "fused", "peft", "gguf", "modelfile")
"""The folders and the file of a run that hold its results."""


@dataclass(frozen=True)
class JobDetails:
    """JobDetails holds all there is to know of one job, as `prefd show` prints it and `GET /v1/jobs/{job_id}` answers."""

    job: Job
    spec: JobSpec | None
    """None where this version of prefd does not understand it."""
    stock: Stock | None
    """The versions, plugins and data it was claimed with; None before it is frozen."""
    history: list[Event]
    outcomes: Mapping[Phase, Outcome | None]
    """How each phase ended, in their order; None for one that has not ended."""
    progress: Progress | None
    """Of the phase that runs, or the last that ran."""
    outputs: Mapping[str, Path]
    """The results, by name."""
    reports: Sequence[ReportState]
    """How far each report to another tool is."""
    folder: Path
    """The job's folder."""
    lost: str
    """What became of the folder, where it was removed by hand or holds another job's files; empty where it is the job's."""

    @classmethod
    def collect(cls, job: Job, spec: JobSpec | None, history: list[Event], run: RunDir) -> JobDetails:
        """Collect what the job's folder `run` holds, beside what the table says."""
        lost = find_lost_folder(job, run)
        return cls(
            job=job,
            spec=spec,
            stock=None if lost else read_stock(run),
            history=history,
            outcomes={phase: None if lost else run.outcome(phase) for phase in PHASES},
            progress=None if lost else run.progress(),
            outputs=list_outputs(job, run),
            reports=[] if lost else list_reports(run),
            folder=run.root,
            lost=lost,
        )

    @classmethod
    def read(cls, table: JobQueries, job_id: int, run: RunDir) -> JobDetails:
        """Read the job from the table and its folder. Raises JobNotFound, JobTableError."""
        return cls.collect(table.get(job_id), table.find_spec(job_id), table.history(job_id), run)

    def to_json(self) -> dict[str, Any]:
        """Return the details as one JSON object."""
        return {
            "job": self.job.to_json(),
            "spec": None if self.spec is None else self.spec.model_dump(mode="json"),
            "frozen": None if self.stock is None else self.stock.to_json(),
            "history": [event._asdict() for event in self.history],
            **{phase: None if outcome is None else outcome.to_json() for phase, outcome in self.outcomes.items()},
            "progress": None if self.progress is None else asdict(self.progress),
            **{name: str(self.outputs[name]) if name in self.outputs else None for name in OUTPUTS},
            "reports": [asdict(each) for each in self.reports],
            "run": str(self.folder),
            "run_gone": bool(self.lost),
        }


def list_outputs(job: Job, run: RunDir) -> dict[str, Path]:
    """Return the folders and files with the results of a job that is done, by name; none for any other job."""
    paths: dict[str, Path] = {name: getattr(run, name) for name in OUTPUTS}
    if job.state != "done" or find_lost_folder(job, run):
        return {}
    return {name: path for name, path in paths.items() if path.exists()}
