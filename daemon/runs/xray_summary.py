"""XRaySummary says in a job's report which of its pairs to doubt: what `prefd xray` lists, counted before anything was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefd.daemon.text.document_model import DocumentModel
from prefd.daemon.text.wording import pluralize


class XRaySummary(DocumentModel):
    """XRaySummary counts the pairs that someone should look at, and says how far the longer answer wins."""

    pairs: int = 0
    """Pairs that were examined: those trained on, and those held out."""
    found: Mapping[str, int] = {}
    """How many pairs there are of each kind that `prefd xray` lists."""
    first: Sequence[str] = ()
    """The places of the pairs to look at first."""
    longer_accuracy: float | None = None
    """The accuracy of always taking the longer answer."""
    reference_accuracy: float | None = None
    """The share of pairs whose chosen answer the reference finds likelier; None where no scores of its were read."""
    predicted_accuracy: float | None = None
    """How well labels are predicted by the other pairs; None where they are too few."""
    seconds: float = 0.0
    """That the examination took."""
    fault: str = ""
    """Why nothing was examined, in words; empty where it was."""

    def describe(self) -> list[str]:
        """Return the summary in words, a line for each thing that is known."""
        if self.fault:
            return [self.fault]
        counts = [f"{kind} {count:,}" for kind, count in self.found.items() if count]
        first = f"; look first at {', '.join(self.first)}" if self.first else ""
        lines = [f"{', '.join(counts) or 'nothing to doubt'}, of {pluralize(self.pairs, 'pair')}{first}"]
        accuracies = self._list_accuracies()
        return [*lines, f"labels told right: {', '.join(accuracies)}"] if accuracies else lines

    def _list_accuracies(self) -> list[str]:
        """List how often the longer answer, the reference and the other pairs tell which answer was chosen."""
        accuracies = {
            "by the longer answer": self.longer_accuracy,
            "by the reference": self.reference_accuracy,
            "by the other pairs": self.predicted_accuracy,
        }
        return [f"{value:.0%} {name}" for name, value in accuracies.items() if value is not None]
