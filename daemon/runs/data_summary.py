"""DataSummary says what became of a job's rows, as a JSON document in phase summaries and in answers of workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefd.daemon.text.document_model import DocumentModel


class UnusableRows(DocumentModel):
    """UnusableRows holds the rows of a source that cannot be used for one reason."""

    count: int = 0
    rows: Sequence[int] = ()
    """The numbers of the first few, counted from 1."""
    places: Sequence[str] = ()
    """The places of these rows, such as `pairs.jsonl:4`."""


class SourceSummary(DocumentModel):
    """SourceSummary says what became of the rows of one source."""

    source: str = ""
    rows: int = 0
    format: str = ""
    truncated: int = 0
    """Usable rows with a side cut at the length limit."""
    boundary: int = 0
    """Usable rows whose prompt is not what prompt and answer together begin with."""
    unusable: Mapping[str, UnusableRows] = {}
    """The unusable rows by reason, the most frequent first."""
    pairs: int = 0
    """Usable pairs."""
    columns: Sequence[str] = ()
    """Columns that any pair is made of."""
    unread: Sequence[str] = ()
    """Columns that no pair is made of."""
    notes: Sequence[str] = ()
    """Remarks for the data's owner, a line each."""
    left_out: int = 0
    """Usable pairs that a weight leaves out."""


class HeldOutSummary(SourceSummary):
    """HeldOutSummary says what became of the rows of a source whose pairs are all held out."""

    overlap: int = 0
    """Held-out pairs whose prompt is trained on too."""


class DataSummary(SourceSummary):
    """DataSummary says what became of the rows of the source that is trained on, and of the whole job."""

    used: int = 0
    """Pairs to train on."""
    held_out: int = 0
    validation: HeldOutSummary | None = None
    """The held-out pairs' own source, where they have one."""
    lines: Sequence[str] = ()
    """The summary in words, a line for each thing a user should know; empty in the summaries of the first versions."""

    def describe(self) -> Sequence[str]:
        """Return `lines`, or for a summary that has none, its two counts."""
        return self.lines or [f"{self.used} used, {self.held_out} held out"]
