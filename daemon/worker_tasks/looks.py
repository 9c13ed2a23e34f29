"""The questions that a look child answers one after the other, and its answers: what a page or a command asks while a spec is written.

A question is a line of JSON on the child's stdin, `{"id": 3, "kind": "rows", "question": {…}}`, and its answer a line on
stdout: `{"id": 3, "answer": {…}}`, or `{"id": 3, "error": "a sentence"}`. The first line says that it is ready: `{"id": 0}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from prefd.daemon.runs.data_summary import DataSummary
from prefd.daemon.runs.pair_answers import PairsOrder, PairsPart
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.text.document_model import DocumentModel
from prefd.daemon.worker_tasks.answers import Explanation
from prefd.daemon.worker_tasks.inputs import LookQuestion

Shown = Literal["all", "kept", "cut", "dropped", "held_out"]
READY = 0
"""The id of the line with which a child says that it takes questions, and the signal that ends one."""
MOST_ROWS = 200
"""Rows of one page."""
MOST_POINTS = 1001


class NeedsQuestion(LookQuestion):
    """NeedsQuestion asks what a job would need: from the cache, in time, and in memory."""

    kind: ClassVar[str] = "needs"
    spec: JobSpec
    """The job's spec, resolved: its paths are absolute."""


class RowsQuestion(LookQuestion):
    """RowsQuestion asks for a page of a job's rows as they would be trained on."""

    kind: ClassVar[str] = "rows"
    spec: JobSpec
    show: Shown = "all"
    offset: int = Field(0, ge=0)
    limit: int = Field(20, ge=0, le=MOST_ROWS)


class CurveQuestion(LookQuestion):
    """CurveQuestion asks for the curve of one loss over z, how much more the policy prefers the chosen answer."""

    kind: ClassVar[str] = "curve"
    name: str
    params: Mapping[str, str] = {}
    """Parameter → its value as text; a parameter that is left out has its default."""
    low: float = -10.0
    high: float = 10.0
    points: int = Field(121, ge=2, le=MOST_POINTS)


class PairsQuestion(LookQuestion):
    """PairsQuestion asks for a page of a job's scored pairs."""

    kind: ClassVar[str] = "pairs"
    job: int
    ulid: str
    """The job's ULID: another job's pairs are not shown."""
    order: PairsOrder = "margin"
    only: Sequence[PairsPart] = ()
    """Pairs that are of all these parts."""
    offset: int = Field(0, ge=0)
    limit: int = Field(20, ge=0, le=MOST_ROWS)


class PairComparisonQuestion(LookQuestion):
    """PairComparisonQuestion asks on which pairs two jobs differ."""

    kind: ClassVar[str] = "pair-comparison"
    jobs: tuple[int, int]


class MemoryNeeds(DocumentModel):
    """MemoryNeeds is the estimated peak memory of training, in bytes, by what occupies it."""

    weights: int
    optimizer: int
    gradients: int
    activations: int
    """Kept for the backward pass of the largest micro-batch."""
    kept: int = 0
    """The states of a step and of the one before, in case the worker dies."""
    total: int
    tokens: int
    """Tokens of that micro-batch, not bytes."""
    machine: int
    """What the device has in all."""
    free: int
    """What of it is free now."""
    warning: str | None = None
    """Why the job may not fit, with what makes it smaller; None where it fits."""


class ChosenBatchSettings(DocumentModel):
    """ChosenBatchSettings are the sizes in which a training step would run here."""

    batch_tokens: int | None
    """None where the loss looks across its batch, which is never cut."""
    grad_checkpoint: bool
    chunk_tokens: int
    usual: bool
    """Whether they are what the spec and the device's defaults say; else they were chosen for this machine's memory."""
    steps: int
    """Optimizer steps of the whole training."""
    steps_per_epoch: int


class JobNeeds(Explanation):
    """JobNeeds is an `Explanation`, with what training would take."""

    needs_reference: bool
    """Whether the loss compares with the reference: if not, and the job trains, nothing of `missing` is scored."""
    memory: MemoryNeeds | None = None
    """None where the job trains nothing."""
    batches: ChosenBatchSettings | None = None
    """None where the job trains nothing."""


class Lengths(DocumentModel):
    """Lengths counts how long one part of all pairs is, in tokens."""

    start: int = Field(alias="from")
    """Where the first bin begins."""
    width: int
    counts: Sequence[int]
    """Parts in each bin."""
    mean: float
    max: int


class RowPart(DocumentModel):
    """RowPart is a prompt or an answer, decoded from the ids that are trained on."""

    text: str
    tokens: int
    counted: int = 0
    """Tokens whose log-probability enters the loss: of an answer only."""
    cut: int = 0
    """Tokens that max_length has cut from the end."""
    special: Sequence[tuple[int, int]] = ()
    """Where in `text` special tokens stand, as (begin, end) in characters."""


class ShownRow(DocumentModel):
    """ShownRow is one pair, or a row that gives none."""

    row: int
    place: str
    drop: str | None = None
    """Why the row gives no pair; then it has no parts."""
    held_out: bool = False
    cut: bool = False
    boundary: bool = False
    """Whether an answer is set behind the prompt's own tokens, as they do not join."""
    prompt: RowPart | None = None
    chosen: RowPart | None = None
    rejected: RowPart | None = None
    remarks: Sequence[str] = ()
    """Things to look at, the gravest first."""


class RowsPage(DocumentModel):
    """RowsPage is a page of rows, with what became of all rows."""

    report: DataSummary
    total: int
    """Rows that are shown in all, on whatever page."""
    lengths: Mapping[str, Lengths]
    """Of `prompt`, `chosen` and `rejected`, over all pairs."""
    rows: Sequence[ShownRow]

    def to_json(self) -> dict[str, Any]:
        """Return the fields that it was made with, `from` by its own name."""
        return self.model_dump(exclude_unset=True, by_alias=True)


class LossCurve(DocumentModel):
    """LossCurve is a loss over z, for an answer of one token on each side: the chosen one is z/2 above its reference, the rejected one z/2 below.

    A loss without a reference has the two z apart.
    """

    name: str
    params: Mapping[str, Any]
    """All parameters, those with their defaults too."""
    z: Sequence[float]
    loss: Sequence[float | None]
    """None where it is not finite."""
    slope: Sequence[float | None]
    """The derivative of the loss by z."""
