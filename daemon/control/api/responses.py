"""Types what the endpoints answer: the schemas of the OpenAPI document, which real answers are tested against.

Fields may be added under `/v1`; none is taken away or changes its meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, with_config

from prefd.daemon.control import answers, status
from prefd.daemon.inbox.health import WatchHealth
from prefd.daemon.jobs.event_kinds import KINDS
from prefd.daemon.jobs.states import State
from prefd.daemon.jobs.summaries import JobSummary, LossPart, Task
from prefd.daemon.jobs.table import Job
from prefd.daemon.runs.claimed_spec import ClaimedSpec
from prefd.daemon.runs.report_files import ReportState
from prefd.daemon.runs.run_files import CheckpointFolder, RunFiles, RunPart
from prefd.daemon.runs.run_folder import Progress

MISSING = {404: "there is no such job"}
"""The error of every endpoint of one job."""
DOCUMENTED = ConfigDict(
    use_attribute_docstrings=True, defer_build=True, json_schema_serialization_defaults_required=True
)
"""Of every type in the OpenAPI document: their docstrings are the document's, and what has a default is answered all the same."""
STATUS_KINDS = [each for each in vars(status).values() if isinstance(each, type) and is_dataclass(each)]
ANSWER_KINDS = (answers.Queued, answers.Acted, answers.Edited)
for _kind in (*STATUS_KINDS, *ANSWER_KINDS, Job, Progress, WatchHealth, *KINDS.values()):
    with_config(DOCUMENTED)(_kind)
for _kind in (CheckpointFolder, ClaimedSpec, JobSummary, LossPart, ReportState, RunFiles, RunPart, Task):
    with_config(DOCUMENTED)(_kind)


class Answer(BaseModel):
    """Answer is the base of all that the API answers."""

    model_config = DOCUMENTED


class Error(Answer):
    """Error says what is wrong with a request, or with the daemon."""

    error: str
    """All of `lines`."""
    lines: list[str]
    """What is wrong, one complete message each."""


class Stopping(Answer):
    """The daemon has begun to stop."""

    stopping: Literal[True]


class Readable(Answer):
    """Readable says whether the daemon, whose rights are not those of your shell, can read a file or folder."""

    path: str
    reason: str | None
    """Why not, in words that go on after the path; null where it can, or where there is nothing."""


@with_config(DOCUMENTED | ConfigDict(json_schema_serialization_defaults_required=False))  # a summary is asked for
@dataclass(frozen=True)
class ListedJob(Job):
    """ListedJob is a job of a list."""

    summary: JobSummary | None = None
    """Only where it is asked for."""


class Jobs(Answer):
    """Jobs is a page of jobs."""

    jobs: list[ListedJob]
    """Oldest first."""
    more: bool
    """Whether there are older ones: ask again with `before` set to the first one's id."""


class ActedOn(Answer):
    """ActedOn holds the jobs that were acted on."""

    jobs: list[int]
    """Their numbers."""


class Outcome(Answer):
    """Outcome says how a phase ended. `reason` is for people; `summary` holds the phase's numbers."""

    ok: bool
    reason: str
    summary: dict[str, Any] = Field(default_factory=dict)


class HistoryLine(Answer):
    """HistoryLine is one change of a job's state."""

    at: float
    """Unix time."""
    state: State
    reason: str


class Frozen(Answer):
    """Frozen holds what a job was claimed with."""

    versions: dict[str, str]
    plugins: dict[str, str]
    """Distribution → version, and file → `sha256:…`."""
    data: dict[str, dict[str, Any]]
    """File → its bytes and sha256; hub dataset → its revision and commit."""


class JobDocument(Answer):
    """JobDocument holds all there is to know of a job."""

    job: Job
    spec: dict[str, Any] | None
    """As it was claimed; null where this version of prefd does not understand it."""
    frozen: Frozen | None
    """null for a job of an earlier version of prefd, and before it is frozen."""
    history: list[HistoryLine]
    precompute: Outcome | None
    """How the phase ended."""
    training: Outcome | None
    live: Outcome | None
    """Of a model that a client of `prefd serve` holds."""
    progress: Progress | None
    """Of the phase that runs, or the last that ran."""
    adapter: str | None
    """The folder with what the job made."""
    fused: str | None
    peft: str | None
    gguf: str | None
    """The folder with what `prefd gguf` wrote."""
    modelfile: str | None
    """The file that `prefd modelfile` wrote."""
    reports: list[ReportState]
    """How far its reports to other tools are, one for each reporter."""
    run: str
    """The job's folder."""
    run_gone: bool
    """Whether the folder was removed by hand, so that nothing in it can be told."""


class History(Answer):
    """History holds every state that a job has been in."""

    job: int
    phase_seconds: dict[str, float]
    """Seconds spent in `precompute`, in `training` and in `live`."""
    history: list[HistoryLine]
    """Oldest first."""


class Log(Answer):
    """Log holds lines of a job's log."""

    job: int
    log: str
    """The whole file."""
    lines: list[str]
    next: int
    """The byte behind the last complete line: ask again with `after` set to it. Of a job that runs only such lines are told."""
    more: bool
    """Whether there are more already, behind the megabyte that was read: of `after` alone."""
    earlier: bool
    """Whether there are lines before these in the file: of `last` alone."""


class Metrics(Answer):
    """Metrics holds what a job's training has logged."""

    job: int
    name: str
    train: list[dict[str, Any]]
    """A row for each report of training: metric → number, or null where it is not finite."""
    eval: list[dict[str, Any]]
    """A row for each evaluation on the held-out pairs."""
