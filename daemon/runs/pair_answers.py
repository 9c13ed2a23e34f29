"""The documents that say how a trained policy stands to each pair: the head beside the table, and a page of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from prefd.daemon.text.document_model import DocumentModel

PairsPhase = Literal["none", "failed", "waiting", "scoring", "done"]
PairsOrder = Literal["margin", "best", "loss", "row"]
"""The smallest margin first, the largest first, the largest loss first, or as in the data."""
PairsPart = Literal["wrong", "held_out", "train"]


class PairsMeans(DocumentModel):
    """PairsMeans holds the means over one part of the pairs."""

    pairs: int
    wrong: int
    """Pairs whose chosen answer has no higher reward than the rejected one."""
    accuracy: float
    margin: float | None
    """The mean margin; None where that of a pair is not finite."""
    loss: float | None


class MarginHistogram(DocumentModel):
    """MarginHistogram counts margins in bins of a round width, none of which has 0 inside."""

    start: float = Field(alias="from")
    """Where the first bin begins."""
    width: float
    train: Sequence[int]
    held_out: Sequence[int]


class PairsHead(DocumentModel):
    """PairsHead says what was scored, and the numbers of all pairs together."""

    job: str = ""
    """The job's ULID."""
    scored_at_step: int | None
    """The optimizer step that the policy is of: the adapter's."""
    scored_at: float
    """Unix time."""
    compares_with: str | None
    """The reference's model; None where the loss takes none, so that a margin is the policy's alone."""
    train: PairsMeans | None
    held_out: PairsMeans | None
    """None where no pair is held out."""
    histogram: MarginHistogram
    not_finite: int = 0
    """Pairs whose margin is no number; they count as wrong, and are in no bin."""
    notes: Sequence[str] = ()
    """What is to be known of the numbers, a line each."""

    @property
    def wrong(self) -> int:
        """Return how many pairs of both parts are the wrong way round."""
        return sum(part.wrong for part in (self.train, self.held_out) if part is not None)

    def to_json(self) -> dict[str, Any]:
        """Return the fields that it was made with, `from` by its own name."""
        return self.model_dump(exclude_unset=True, by_alias=True)


class PairsProgress(DocumentModel):
    """PairsProgress says how far the scoring of a job's pairs is."""

    done: int
    total: int
    rate: float | None = None
    """Pairs a second."""
    eta_s: float | None = None


class PairsState(DocumentModel):
    """PairsState says whether a job's pairs are scored, and if not, what is in the way."""

    job: int
    state: PairsPhase
    reason: str = ""
    """What it waits for, or why it failed."""
    progress: PairsProgress | None = None


class ScoredPair(DocumentModel):
    """ScoredPair is one pair under the trained policy."""

    row: int
    place: str
    held_out: bool
    margin: float | None
    """The chosen answer's reward less the rejected one's; None where it is not finite, as everywhere here."""
    loss: float | None
    chosen: float | None
    """The chosen answer's reward."""
    rejected: float | None
    logps: Mapping[str, float | None]
    """The policy's log-probabilities of `chosen` and `rejected`, in nats."""
    ref: Mapping[str, float | None] | None
    """The reference's; None where the loss takes none."""
    tokens: Mapping[str, int]
    """How many tokens `prompt`, `chosen` and `rejected` have."""
    prompt: str
    chosen_text: str
    rejected_text: str
    pair: str
    """A digest of the pair's tokens: the same pair has the same one in every job."""


class PairsPage(PairsState):
    """PairsPage is a page of a job's pairs, with what was scored; while nothing is, it has no head and no pairs."""

    head: PairsHead | None = None
    wrong: int | None = None
    """Pairs that are the wrong way round, of all."""
    total: int = 0
    """Pairs that are shown in all, on whatever page."""
    pairs: Sequence[ScoredPair] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields that it was made with, `from` by its own name."""
        return self.model_dump(exclude_unset=True, by_alias=True)
