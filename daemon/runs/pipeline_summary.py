"""PipelineSummary says which rank has which layers of a reference that is spread over a job's ranks, and what each of them took."""

from __future__ import annotations

from collections.abc import Sequence

from prefd.daemon.text.document_model import DocumentModel
from prefd.daemon.text.sizes import format_size


class StageSummary(DocumentModel):
    """StageSummary holds the numbers of one rank's run of layers."""

    rank: int = 0
    where: str = ""
    """The machine, in words."""
    begin: int = 0
    """The layers before these."""
    end: int = 0
    """These and those before."""
    weights_bytes: int = 0
    """Bytes of the weights that the rank holds, as they are in memory, embeddings and output head included where it has them."""
    peak_bytes: int = 0
    """The most memory that MLX has taken there; 0 where nothing has run."""
    sent_bytes: int = 0
    """Bytes of hidden states that were sent to it."""

    def format(self) -> str:
        """Say in a few words what it has."""
        layers = f"{self.begin + 1}-{self.end}" if self.end - self.begin > 1 else str(self.end)
        peak = f", {format_size(self.peak_bytes)} at most" if self.peak_bytes else ""
        return f"{layers} on {self.where} ({format_size(self.weights_bytes)} of weights{peak})"


class PipelineSummary(DocumentModel):
    """PipelineSummary holds the numbers of a pass over a reference whose layers are spread over several ranks."""

    layers: int = 0
    """Layers of the model."""
    stages: Sequence[StageSummary] = ()
    """Of each rank what it has, in the order in which a batch goes through them."""

    @property
    def is_far(self) -> bool:
        """Return whether the stages are on several machines."""
        return len({stage.where for stage in self.stages}) > 1

    def format_stages(self) -> str:
        """Say which rank has which layers."""
        return f"its {self.layers} layers over {len(self.stages)} ranks: {', '.join(each.format() for each in self.stages)}"

    def format(self) -> str:
        """Say in one line what ran where, and what was sent."""
        sent = sum(each.sent_bytes for each in self.stages)
        return self.format_stages() + (f"; {format_size(sent)} of hidden states sent" if sent else "")
