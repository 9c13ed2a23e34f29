"""The models here are a worker's answers, as JSON on stdout, to the tasks whose inputs are in inputs.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefd.daemon.runs.audit import Audit
from prefd.daemon.runs.data_summary import DataSummary
from prefd.daemon.runs.pipeline_summary import PipelineSummary
from prefd.daemon.runs.window_summary import WindowSummary
from prefd.daemon.text.document_model import DocumentModel


class NearReference(DocumentModel):
    """NearReference is a reference in the cache that differs from a job's in a few fields of its identity."""

    fingerprint: str
    model: str | None
    entries: int
    differs: Sequence[str]
    """The names of those fields."""


class LiveComparison(DocumentModel):
    """LiveComparison says what the reference takes of a job's time, before training or beside it. In seconds, by estimate."""

    before_s: float
    """In a pass of its own, the opening of its model included."""
    opening_s: float | None
    """Of these, to open it; None where it is not known, for no pass of it ran here: it is left out then."""
    beside_s: float
    """With `reference.live: adapter_off`."""
    unkept_s: float
    """The same with `reference.store: false`: what is scored is scored again whenever it comes again."""
    epochs: float
    """How often training goes through the pairs."""
    chosen: bool
    """Whether the spec has `reference.live`."""


class Explanation(Audit):
    """Explanation says which completions a job would need from the cache, and what scoring the missing ones would cost."""

    reference: str
    fingerprint: str
    known: bool
    """Whether the cache has any entries of this reference."""
    estimated_seconds: float
    estimate_from: str
    """The basis of the estimate, in words."""
    windows: WindowSummary | None = None
    """How the reference would run, where its layers would not be in memory all at once."""
    pipeline: PipelineSummary | None = None
    """How it would run, where its layers would be spread over ranks."""
    live: LiveComparison | None = None
    """What `reference.live` would save or cost; None where the policy cannot be its own reference."""
    near: Sequence[NearReference]
    """Similar references, the fewest differences first."""
    data: DataSummary


class DataCheck(DocumentModel):
    """DataCheck is the report on one job's data, or why there is none."""

    data: DataSummary | None = None
    not_reached: str | None = None
    """Why its data or tokenizer, which the hub has, cannot be read now."""
    unchecked: str | None = None
    """The part of the spec that could not be checked."""
    error: str | None = None
    """The error with which its first phase would end before any model is loaded; with it, the other fields do not count."""

    def joined(self, other: DataCheck) -> DataCheck:
        """Return a copy with the fields that are set in `other`."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})


class DataChecks(DocumentModel):
    """DataChecks holds the checks of several jobs, in the order of the specs that were sent."""

    checks: Sequence[DataCheck]


class WrongValue(DocumentModel):
    """WrongValue is a cached completion whose log-probabilities differ from those that the model gives."""

    key: str
    """In hexadecimal digits."""
    row: int
    place: str
    """The row's place, in words."""
    mean: float
    """The mean difference, in nats a token."""
    max: float


class Rescored(DocumentModel):
    """Rescored says how a sample of a reference's completions, scored again, compares with what is cached. Differences are in nats a token."""

    fingerprint: str
    model: str
    data: str
    """The source of the pairs."""
    cached: int
    sampled: int
    checked: int
    """How many were scored again: fewer than `sampled` where the time was up."""
    tolerance: float
    mean: float
    max: float
    wrong: Sequence[WrongValue]


class CheckedProperty(DocumentModel):
    """CheckedProperty is one thing that training relies on, and whether a loss keeps it."""

    check: str
    result: str
    """`ok`, `failed`, `declared` or `not tried`."""
    detail: str
    """The inputs that were tried, or what is wrong."""


class LossCheck(DocumentModel):
    """LossCheck holds the conformance kit's report on one loss; where no loss has that name, `known` and `failed` alone."""

    loss: str | None = None
    plugin: str | None = None
    checks: Sequence[CheckedProperty] = ()
    known: Sequence[str] | None = None
    """The names of all losses, where none has the name that was asked for."""
    failed: Mapping[str, str] = {}
    """The plugins that could not be loaded, and why."""


class DeviceAnswer(DocumentModel):
    """DeviceAnswer holds the device that a worker computes on, and its speed."""

    device: str
    """`cpu` or `gpu`."""
    device_name: str
    blas: str | None = None
    """The BLAS library that was loaded in place of MLX's own."""
    gflops: float
    """The measured speed of products of float32 matrices."""
    mlx: str = ""
    mlx_lm: str = ""
