"""XRay is a worker's answer to `prefd xray`: what a dataset's pairs and the reference's scores of them say before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from prefd.daemon.runs.data_summary import DataSummary
from prefd.daemon.runs.pair_answers import MarginHistogram
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.text.document_model import DocumentModel
from prefd.daemon.worker_tasks.inputs import LookQuestion

FindingKind = Literal["suspects", "against-reference", "contradictions", "duplicates", "alike", "cut"]
"""Kinds of pairs that someone should look at."""


class XRayInput(LookQuestion):
    """XRayInput is the input of `xray`: the job whose pairs are to be examined, and which of them to show."""

    kind: ClassVar[str] = "xray"
    spec: JobSpec
    """The job's spec, resolved: its paths are absolute."""
    only: Sequence[FindingKind] = ()
    """Kinds to list; all of them where none is named."""
    limit: int | None = Field(10, ge=1)
    """Pairs listed of each kind; None: all."""


class FoundPair(DocumentModel):
    """FoundPair is a pair that someone should look at, and why."""

    row: int
    place: str
    digest: str
    """The digest of its texts, by which `data.exclude` names it."""
    held_out: bool
    why: str
    """The reason, in words."""
    probability: float | None = None
    """How likely the pairs of other prompts make its label; None where nothing was learnt of them."""
    margin: float | None = None
    """By how many nats the reference finds the chosen answer likelier; None where it has not scored both."""
    rank: int | None = None
    """The margin's rank among the pairs whose answers differ in length as its own do; 1: the lowest."""
    neighbours: int | None = None
    """How many those are."""
    tokens: Mapping[str, int]
    """How many tokens `prompt`, `chosen` and `rejected` have."""
    prompt: str
    chosen: str
    rejected: str


class DoubtedPairs(DocumentModel):
    """DoubtedPairs holds the pairs of one kind, those to look at first before the others."""

    kind: FindingKind
    total: int
    """Pairs of this kind in all."""
    pairs: Sequence[FoundPair]


class LengthBias(DocumentModel):
    """LengthBias says how far the longer answer is the chosen one."""

    longer: int
    """Pairs whose chosen answer has more tokens."""
    shorter: int
    equal: int
    accuracy: float
    """The accuracy of taking the longer answer, and of a coin where both are of one length."""
    chosen_tokens: float
    """The mean length of chosen answers."""
    rejected_tokens: float
    histogram: MarginHistogram
    """Of how many tokens longer the chosen answer is."""


class ReferenceView(DocumentModel):
    """ReferenceView says what the reference thinks of the pairs that it has scored both answers of."""

    pairs: int
    accuracy: float
    """The share whose chosen answer it finds likelier, by the sum over its tokens."""
    mean_accuracy: float
    """The same by the mean per token, which does not favour short answers."""
    margin: float
    """The mean margin, in nats."""
    histogram: MarginHistogram
    """Of the margins."""


class Predictability(DocumentModel):
    """Predictability says how well a small model predicts the labels of prompts that it has not seen."""

    accuracy: float
    """At 0.5, the list of suspects is no better than chance."""
    doubted: int
    """Pairs whose label it holds for the less likely one."""


class SourceTokens(DocumentModel):
    """SourceTokens counts the tokens of the pairs of one file or dataset."""

    source: str
    pairs: int
    prompt: int
    """Tokens of prompts, once a pair."""
    chosen: int
    rejected: int
    cut: int
    """Pairs with an answer that was cut at max_length."""


class XRay(DocumentModel):
    """XRay holds all that was found in a job's pairs."""

    model: str
    reference: str
    data: DataSummary
    pairs: int
    missing: int
    """Completions that the reference has not scored yet."""
    lengths: LengthBias
    reference_view: ReferenceView | None
    """None where it has scored no pair."""
    predictability: Predictability | None
    """None where the pairs are too few to learn of."""
    findings: Sequence[DoubtedPairs]
    sources: Sequence[SourceTokens]
    notes: Sequence[str]
    """What is to be known of the numbers, a line each."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields that it was made with, `from` by its own name."""
        return self.model_dump(exclude_unset=True, by_alias=True)
