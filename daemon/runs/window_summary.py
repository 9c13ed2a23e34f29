"""WindowSummary says how a reference is scored whose layers are not in memory all at once, and what that costs."""

from __future__ import annotations

from prefd.daemon.text.document_model import DocumentModel
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.wording import pluralize


class WindowSummary(DocumentModel):
    """WindowSummary holds the numbers of a pass over a reference a window of layers at a time."""

    size: int = 0
    """Layers that are in memory at a time."""
    layers: int = 0
    """Layers of the model."""
    chunk_tokens: int = 0
    """Tokens, at most, that run through all windows before the weights are read again."""
    weights_bytes: int = 0
    """Bytes of the weights that are read for each chunk, as they are in memory."""
    readings: int = 0
    """How often they were read, or would be."""
    memory_bytes: int = 0
    """Bytes that the pass takes at once, by estimate."""

    def format(self) -> str:
        """Say in one line what is run how, and what that costs."""
        cost = f"{format_size(self.weights_bytes)} of weights read {pluralize(self.readings, 'time')}"
        return f"{self.size} of {self.layers} layers in memory at a time, {cost}, about {format_size(self.memory_bytes)} of memory"
