"""What a worker answers to `prefd preview`: pairs as the model reads them, token by token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefd.daemon.runs.data_summary import DataSummary
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.text.document_model import DocumentModel


@dataclass(frozen=True)
class Part:
    """A prompt or an answer. The four lists have an item for each token."""

    ids: Sequence[int]
    texts: Sequence[str]
    """What each token adds to the text; "" for one that ends within a character, which the token that ends it has whole."""
    special: Sequence[bool]
    """Tokens that are no text, such as those that end a turn."""
    counted: Sequence[bool]
    """Tokens whose log-probability enters the loss: of an answer only."""
    cut: int = 0
    """How many tokens max_length has taken from the end."""

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def to_json(self, tokens: bool) -> dict[str, Any]:
        """For `--json`: counts and the text, and with `tokens` each token."""
        each = {"ids": self.ids, "texts": self.texts, "special": self.special, "is_counted": self.counted}
        counts = {"tokens": len(self.ids), "counted": sum(self.counted), "cut": self.cut, "text": self.text}
        return counts | (each if tokens else {})


@dataclass(frozen=True)
class ShownPair:
    """One pair as both sides of it are trained on."""

    place: str
    """Its row, in words."""
    use: str
    """What becomes of it: "trained on", "held out", or "scored" where the job trains nothing."""
    prompt: Part
    chosen: Part
    rejected: Part
    remarks: Sequence[str] = field(default_factory=tuple)
    """What someone should look at, the gravest first."""

    def to_json(self, tokens: bool) -> dict[str, Any]:
        parts = {name: getattr(self, name).to_json(tokens) for name in ("prompt", "chosen", "rejected")}
        return {"place": self.place, "use": self.use, "remarks": list(self.remarks), **parts}


class LengthSpan(DocumentModel):
    """The least, the median and the most tokens of a part of the pairs."""

    least: int
    median: int | float
    most: int


class Preview(DocumentModel):
    """The pairs that were asked for, and what is to be known of all."""

    model: str
    chat_template: bool
    """Whether prompts go through one."""
    ends: Mapping[str, int]
    """The tokens that whole answers end with, as text → id, the most frequent first."""
    max_length: int
    tokens: Mapping[str, LengthSpan]
    """Of `prompt`, `chosen` and `rejected`."""
    data: DataSummary
    pairs: Sequence[ShownPair]
    missing: Mapping[str, str]
    """Of each row that was asked for by name and is no pair, why."""

    def to_document(self, tokens: bool) -> dict[str, Any]:
        """For `--json`: counts and texts of the pairs, and with `tokens` each token."""
        return self.to_json() | {"pairs": [pair.to_json(tokens) for pair in self.pairs]}


def compute_tokens_key(spec: JobSpec) -> str:
    """The same text for two jobs whose pairs are the same tokens: those of a sweep mostly are."""
    reference = None if spec.reference is None else spec.reference.model
    return f"{spec.model} {reference} {spec.data.model_dump_json()}"
