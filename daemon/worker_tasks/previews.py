"""Preview is a worker's answer to `prefd preview`: pairs as the model reads them, token by token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefd.daemon.runs.data_summary import DataSummary
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.text.document_model import DocumentModel


@dataclass(frozen=True)
class Part:
    """Part is a prompt or an answer. The four lists have an item for each token."""

    ids: Sequence[int]
    texts: Sequence[str]
    """The text that each token adds; "" for one that ends within a character, which comes with the token that completes it."""
    special: Sequence[bool]
    """Whether the token is no text, such as one that ends a turn."""
    counted: Sequence[bool]
    """Whether the token's log-probability enters the loss: in an answer only."""
    cut: int = 0
    """How many tokens max_length has cut from the end."""

    @property
    def text(self) -> str:
        """Return the text of all tokens."""
        return "".join(self.texts)

    def to_json(self, tokens: bool) -> dict[str, Any]:
        """Return counts and the text for `--json`, and with `tokens` each token."""
        each = {"ids": self.ids, "texts": self.texts, "special": self.special, "is_counted": self.counted}
        counts = {"tokens": len(self.ids), "counted": sum(self.counted), "cut": self.cut, "text": self.text}
        return counts | (each if tokens else {})


@dataclass(frozen=True)
class ShownPair:
    """ShownPair is one pair, with both sides as they are trained on."""

    place: str
    """The place of its row, in words."""
    use: str
    """The use of the pair: "trained on", "held out", or "scored" where the job trains nothing."""
    prompt: Part
    chosen: Part
    rejected: Part
    remarks: Sequence[str] = field(default_factory=tuple)
    """Things to look at, the gravest first."""

    def to_json(self, tokens: bool) -> dict[str, Any]:
        """Return the pair for `--json`, with each token where `tokens`."""
        parts = {name: getattr(self, name).to_json(tokens) for name in ("prompt", "chosen", "rejected")}
        return {"place": self.place, "use": self.use, "remarks": list(self.remarks), **parts}


class LengthSpan(DocumentModel):
    """LengthSpan holds the least, the median and the most tokens of a part of the pairs."""

    least: int
    median: int | float
    most: int


class Preview(DocumentModel):
    """Preview holds the pairs that were asked for, and facts about all pairs of the job."""

    model: str
    chat_template: bool
    """Whether prompts go through one."""
    ends: Mapping[str, int]
    """The tokens that whole answers end with, as text → id, the most frequent first."""
    max_length: int
    tokens: Mapping[str, LengthSpan]
    """The lengths of `prompt`, `chosen` and `rejected`."""
    data: DataSummary
    pairs: Sequence[ShownPair]
    missing: Mapping[str, str]
    """The rows that were asked for by name and are no pairs, with the reason."""

    def to_document(self, tokens: bool) -> dict[str, Any]:
        """Return counts and texts of the pairs for `--json`, and with `tokens` each token."""
        return self.to_json() | {"pairs": [pair.to_json(tokens) for pair in self.pairs]}


def compute_tokens_key(spec: JobSpec) -> str:
    """Return a text that is the same for two jobs whose pairs are the same tokens, as those of a sweep mostly are.

    Only a job that learns from single answers and one that learns from pairs may differ in what it does not tell.
    """
    reference = None if spec.named_reference is None else spec.named_reference.model
    return f"{spec.model} {reference} {spec.data.model_dump_json()}"
