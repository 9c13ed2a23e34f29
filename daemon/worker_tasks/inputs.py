"""What a worker is handed as JSON on stdin for each task that answers at once: a spec, and what is asked of its pairs.

The phases of a queued job take nothing on stdin: their input is the job's frozen `spec.json` (frozen.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from prefd.daemon.specs.job_spec import JobSpec


class WorkerInput(BaseModel):
    """The base of every input: checked when it is made and again when the worker reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class ExplainInput(WorkerInput):
    """For `explain`: the job whose needs of the cache are in question."""

    spec: JobSpec
    """Resolved: its paths are absolute."""


class PreviewInput(WorkerInput):
    """For `preview`, which pairs of a job to show: `named` rows where there are any, else the first or the worst `count`."""

    spec: JobSpec
    count: int = 3
    named: Sequence[str] = ()
    worst: bool = False


class DataCheckInput(WorkerInput):
    """For `check-data`: the jobs whose data is to be read."""

    specs: Sequence[JobSpec]


class RescoreInput(WorkerInput):
    """For `rescore`: whose completions to score again, and how many."""

    spec: JobSpec
    """A job's, resolved: its pairs, and its reference."""
    sample: float
    """Completions; a share of those that are cached where `percent`."""
    percent: bool = False
    fingerprint: str | None = None
    """Which reference the spec had when it ran."""
    commits: Mapping[str, str] = {}
    """Hub dataset → the commit that the job was claimed with, and read; the newest where it is not here."""
    seconds: float | None = None
    """Time to score in; loading is not counted."""
    seed: int | None = None


class LossCheckInput(WorkerInput):
    """For `check-loss`: the loss to try."""

    name: str
