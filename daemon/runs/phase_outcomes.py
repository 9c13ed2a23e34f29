"""An outcome says how a phase of a job ended: its worker writes it to `runs/<id>/<phase>.json`, and all others read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, field_validator

from prefd.daemon.runs.phase_summaries import LiveSummary, PrecomputeSummary, TrainingSummary
from prefd.daemon.runs.phases import Phase

Summary = TypeVar("Summary", PrecomputeSummary, TrainingSummary, LiveSummary)


class PhaseOutcome(BaseModel, Generic[Summary]):
    """PhaseOutcome says how a phase ended. A summary that this version cannot read counts as empty, beside `ok` and `reason`."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    ok: bool
    reason: str
    """The reason in words."""
    summary: Summary

    @field_validator("summary", mode="wrap")
    @classmethod
    def _read_summary(cls, value: Any, read: ValidatorFunctionWrapHandler) -> Any:
        try:
            return read(value)
        except ValidationError:
            return cls.model_fields["summary"].get_default(call_default_factory=True)

    def describe(self) -> str:
        """Return the reason, or for a phase that gave none, its summary's line."""
        return self.reason or self.summary.line

    def with_warnings(self, warnings: Sequence[str]) -> Self:
        """Return a copy with `warnings` before those of its summary."""
        summary = self.summary.model_copy(update={"warnings": [*warnings, *self.summary.warnings]})
        return self.model_copy(update={"summary": summary})

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as `runs/<id>/<phase>.json` holds it."""
        return {"ok": self.ok, "reason": self.reason, "summary": self.summary.to_json()}


class PrecomputeOutcome(PhaseOutcome[PrecomputeSummary]):
    """PrecomputeOutcome says how the reference pass ended."""

    summary: PrecomputeSummary = Field(default_factory=PrecomputeSummary)


class TrainingOutcome(PhaseOutcome[TrainingSummary]):
    """TrainingOutcome says how training ended."""

    summary: TrainingSummary = Field(default_factory=TrainingSummary)


class LiveOutcome(PhaseOutcome[LiveSummary]):
    """LiveOutcome says how a live session ended."""

    summary: LiveSummary = Field(default_factory=LiveSummary)


Outcome = PrecomputeOutcome | TrainingOutcome | LiveOutcome

OUTCOME_OF: Mapping[Phase, type[PrecomputeOutcome | TrainingOutcome | LiveOutcome]] = {
    "training": TrainingOutcome,
    "precompute": PrecomputeOutcome,
    "live": LiveOutcome,
}


def read_outcome(phase: Phase, document: Any) -> Outcome | None:
    """Return the outcome in `document`, parsed JSON; None where it holds none that this version can read."""
    try:
        return OUTCOME_OF[phase].model_validate(document)
    except ValidationError:
        return None
