"""What `prefd preview` asks of a worker and is told: pairs as the model reads them, token by token, as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefd.daemon.spec import JobSpec


@dataclass(frozen=True)
class Request:
    """Which pairs of a job to show: `named` rows where there are any, else the first or the worst `count`."""

    spec: Mapping[str, Any]
    count: int = 3
    named: Sequence[str] = ()
    worst: bool = False


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

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ShownPair:
        parts = {name: Part(**value[name]) for name in ("prompt", "chosen", "rejected")}
        return cls(**{**value, **parts})

    def to_json(self, tokens: bool) -> dict[str, Any]:
        parts = {name: getattr(self, name).to_json(tokens) for name in ("prompt", "chosen", "rejected")}
        return {"place": self.place, "use": self.use, "remarks": list(self.remarks), **parts}


def what_decides_tokens(spec: JobSpec) -> str:
    """The same text for two jobs whose pairs are the same tokens: those of a sweep mostly are."""
    reference = None if spec.reference is None else spec.reference.model
    return f"{spec.model} {reference} {spec.data.model_dump_json()}"
