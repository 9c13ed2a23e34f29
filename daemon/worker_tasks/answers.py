"""What a worker answers, as JSON on stdout, to the tasks of worker_inputs.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefd.daemon.runs.data_summary import DataSummary
from prefd.daemon.text.document_model import DocumentModel


class NearReference(DocumentModel):
    """A reference in the cache that differs from a job's in a few fields of its identity."""

    fingerprint: str
    model: str | None
    entries: int
    differs: Sequence[str]
    """The names of those fields."""


class Explanation(DocumentModel):
    """What a job would need of the cache, and what that would cost."""

    reference: str
    fingerprint: str
    known: bool
    """Whether the cache has any entries of this reference."""
    completions: int
    duplicates: int
    cached: int
    missing: int
    tokens_scored: int
    tokens_run: int
    bytes: int
    estimated_seconds: float
    estimate_from: str
    """What the estimate is based on, in words."""
    near: Sequence[NearReference]
    """The fewest differences first."""
    data: DataSummary


class DataCheck(DocumentModel):
    """What was found in one job's data: a report of it, or why there is none."""

    data: DataSummary | None = None
    not_reached: str | None = None
    """Why its data or tokenizer, which the hub has, cannot be looked at now."""
    unchecked: str | None = None
    """What of the spec could not be looked at."""
    error: str | None = None
    """What its first phase would end with before any model is loaded; with it, the others do not count."""

    def joined(self, other: DataCheck) -> DataCheck:
        """The same with what `other` has found."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})


class DataChecks(DocumentModel):
    """One for each spec that was asked about, in their order."""

    found: Sequence[DataCheck]


class WrongValue(DocumentModel):
    """A cached completion that the model does not give."""

    key: str
    """In hexadecimal digits."""
    row: int
    place: str
    """Of the row, in words."""
    mean: float
    """Nats a token."""
    max: float


class Rescored(DocumentModel):
    """How a sample of a reference's completions, scored again, compares with what is cached. Differences are in nats a token."""

    fingerprint: str
    model: str
    data: str
    """Where the pairs are from."""
    cached: int
    sampled: int
    checked: int
    """Fewer than `sampled` where the time was up."""
    tolerance: float
    mean: float
    max: float
    wrong: Sequence[WrongValue]


class CheckedProperty(DocumentModel):
    """One thing that training relies on, and whether a loss keeps it."""

    check: str
    result: str
    """`ok`, `failed`, `declared` or `not tried`."""
    detail: str
    """What was tried, or what is wrong."""


class LossCheck(DocumentModel):
    """What the conformance kit found of one loss; where there is none of that name, `known` and `failed` alone."""

    loss: str | None = None
    plugin: str | None = None
    checks: Sequence[CheckedProperty] = ()
    known: Sequence[str] | None = None
    """The losses there are, where there is none of the name."""
    failed: Mapping[str, str] = {}
    """The plugins that could not be loaded, and why."""


class DeviceAnswer(DocumentModel):
    """What a worker computes on, and how fast."""

    device: str
    """`cpu` or `gpu`."""
    device_name: str
    blas: str | None = None
    """The BLAS library that was loaded in place of MLX's own."""
    gflops: float
    """Measured, in products of float32 matrices."""
    mlx: str = ""
    mlx_lm: str = ""
