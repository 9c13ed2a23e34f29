"""JobSummaries tells of many jobs at once what a list of them shows: what each trains, how far it is, and how it went.

A job's spec and metrics are read once, and its metrics again only as far as they have grown.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.job import Brief, Job
from prefd.daemon.jobs.lost_folder import find_lost_folder
from prefd.daemon.runs.metrics_sketch import MetricsSketch
from prefd.daemon.runs.phases import PHASES
from prefd.daemon.runs.run_folder import Progress, RunDir
from prefd.daemon.specs.summary import describe_loss

if TYPE_CHECKING:
    from prefd.daemon.jobs.table import JobTable

MOST_SKETCHES = 1000
"""So many jobs' metrics are remembered, of some 3 kB each."""


@dataclass(frozen=True)
class LossPart:
    """LossPart is one loss of a job, as its spec has it."""

    name: str
    weight: float
    """What it is multiplied by before the losses of a mixture are added."""
    params: Mapping[str, Any]
    """Those that the spec sets."""


@dataclass(frozen=True)
class Task:
    """Task is what a job's spec asks for, in short."""

    model: str
    loss: str
    """In words: `ipo (beta 0.1)`."""
    losses: Sequence[LossPart]
    fine_tune: str | None
    """`lora`, `dora` or `full`; null for a job that only fills the cache, and for a client that only samples."""


@dataclass(frozen=True)
class JobSummary:
    """JobSummary is what a list shows of a job beside its row."""

    task: Task | None
    """null where this version of prefd does not understand the spec."""
    place: int | None
    """Its place in the order in which queued jobs start, 1 for the next; null for one that is not queued."""
    progress: Progress | None
    """Of the phase that runs, or that it goes on with; null for one that has ended."""
    last: Mapping[str, Any] | None
    """The newest line of training."""
    eval: Mapping[str, Any] | None
    """The newest evaluation on the held-out pairs."""
    adapter_step: int | None
    """The step of the adapter that the job has left: the last, or that of the best evaluation."""
    warnings: int
    """How many warnings its phases have given."""
    reports: int
    """How many lines of training `spark` is made of."""
    spark: Sequence[float]
    """At most 48 means of the loss, of equally many reports each."""
    checkpoints: int | None
    """What its checkpoints take on disk in bytes, as last measured."""
    fused: int | None
    """What its fused model takes."""
    folder_lost: str
    """What became of its folder, where it was removed or holds another job's files; empty where it is the job's."""

    def to_json(self) -> dict[str, Any]:
        """Return every field, as plain JSON values; what nobody changes is not copied, as `asdict` would for each number."""
        task = None if self.task is None else {**vars(self.task), "losses": [vars(loss) for loss in self.task.losses]}
        return {**vars(self), "task": task, "progress": None if self.progress is None else vars(self.progress)}


class JobSummaries:
    """JobSummaries makes the summaries of one home's jobs; its methods may be called from any thread."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._sketches: OrderedDict[int, MetricsSketch] = OrderedDict()
        self._lock = threading.Lock()

    def make(self, table: JobTable, jobs: Sequence[Job]) -> dict[int, JobSummary]:
        """Make the summaries of these jobs, by their ids. Raises JobTableError."""
        ids = [job.id for job in jobs]
        specs, places = table.spec_texts(ids), table.queue_places()
        briefs = {brief.id: brief for brief in table.briefs(ids)}
        with self._lock:
            summaries = {
                job.id: self._summarize(job, specs.get(job.id, ""), places.get(job.id), briefs.get(job.id))
                for job in jobs
            }
            while len(self._sketches) > max(MOST_SKETCHES, len(jobs)):
                self._sketches.popitem(last=False)
        return summaries

    def _summarize(self, job: Job, spec: str, place: int | None, brief: Brief | None) -> JobSummary:
        run = RunDir(self.home.job(job.id))
        lost = find_lost_folder(job, run)
        is_there = job.started_at is not None and not lost
        sketch = self._look_at(job.id, run) if is_there else MetricsSketch(run.metrics)
        outcomes = [run.outcome(phase) for phase in PHASES] if is_there else []
        steps = [getattr(outcome.summary, "adapter_step", None) for outcome in outcomes if outcome]
        return JobSummary(
            task=_read_task(spec),
            place=place,
            progress=run.progress() if is_there and not job.ended else None,
            last=sketch.last,
            eval=sketch.evaluation,
            adapter_step=next((step for step in steps if step is not None), None),
            warnings=sum(len(outcome.summary.warnings) for outcome in outcomes if outcome),
            reports=len(sketch.losses),
            spark=sketch.losses.list(),
            checkpoints=brief.checkpoints if brief else None,
            fused=brief.fused if brief else None,
            folder_lost=lost,
        )

    def _look_at(self, job_id: int, run: RunDir) -> MetricsSketch:
        sketch = self._sketches.setdefault(job_id, MetricsSketch(run.metrics))
        self._sketches.move_to_end(job_id)
        sketch.update()
        return sketch


@lru_cache(maxsize=500)
def _read_task(text: str) -> Task | None:
    """Read what a spec asks for, None where it is of another version of prefd."""
    from prefd.daemon.specs.job_spec import JobSpec

    try:
        spec = JobSpec.model_validate_json(text)
    except ValueError:
        return None
    if spec.live is not None:
        return Task(spec.model, describe_loss(spec), [], None if spec.live.lora is None else "lora")
    losses = [LossPart(loss.name, loss.factor, loss.params) for loss in spec.losses.values()]
    fine_tune = None if spec.training is None else spec.training.fine_tune
    return Task(spec.model, describe_loss(spec), losses, fine_tune)
