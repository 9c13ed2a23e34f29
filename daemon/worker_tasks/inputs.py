"""The models here are a worker's inputs, as JSON on stdin, for the tasks that it answers at once, without a job.

The phases of a queued job take nothing on stdin: their input is the job's frozen `spec.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from prefd.daemon.specs.job_spec import JobSpec


class WorkerInput(BaseModel):
    """WorkerInput is the base of every input, which is checked when it is made and again when the worker reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class LookQuestion(WorkerInput):
    """LookQuestion is the base of what a look child is asked too; a newer question of a kind ends the one before it."""

    kind: ClassVar[str]


class ExplainInput(WorkerInput):
    """ExplainInput is the input of `explain`: the job whose needs of the cache are to be estimated."""

    spec: JobSpec
    """The job's spec, resolved: its paths are absolute."""


class PreviewInput(LookQuestion):
    """PreviewInput is the input of `preview`, the pairs of a job to show: the `named` rows if any, else the first or the worst `count`."""

    kind: ClassVar[str] = "preview"
    spec: JobSpec
    count: int = 3
    named: Sequence[str] = ()
    worst: bool = False


class DataCheckInput(WorkerInput):
    """DataCheckInput is the input of `check-data`: the jobs whose data is to be read."""

    specs: Sequence[JobSpec]


class RescoreInput(WorkerInput):
    """RescoreInput is the input of `rescore`: the job whose completions to score again, and how many."""

    spec: JobSpec
    """The job's spec, resolved, with its pairs and its reference."""
    sample: float
    """The number of completions; with `percent`, a share of those that are cached."""
    percent: bool = False
    fingerprint: str | None = None
    """The fingerprint of the reference that the spec had when it ran."""
    commits: Mapping[str, str] = {}
    """Hub dataset → the commit that the job was claimed with, and read; the newest where it is not here."""
    seconds: float | None = None
    """The time to score in; loading is not counted."""
    seed: int | None = None


class LossCheckInput(WorkerInput):
    """LossCheckInput is the input of `check-loss`: the loss to try."""

    name: str


class PairScoringInput(WorkerInput):
    """PairScoringInput is the input of `pairs`: the job whose pairs to score with the policy that it has trained."""

    job: int
    """Its number."""
