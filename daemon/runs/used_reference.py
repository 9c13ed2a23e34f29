"""Reads which reference a job has used, whether that scored in a phase of its own or beside training."""

from __future__ import annotations

from typing import NamedTuple

from prefd.daemon.runs.run_folder import RunDir

OUTCOMES = ("precompute.json", "training.json")
"""The files of a run that it is read from; where one of them changes, so may the answer."""


class UsedReference(NamedTuple):
    """UsedReference says what a job needed of a reference, how much of it was in the cache, and how much it scored."""

    fingerprint: str
    completions: int
    cached: int
    scored: int
    seconds: float


def read_used_reference(run: RunDir) -> UsedReference | None:
    """Read what the job of `run` used; None where none of its phases has compared with a reference, or got to its end."""
    if (precompute := run.outcome("precompute")) is not None and precompute.summary.fingerprint is not None:
        summary = precompute.summary
        return UsedReference(
            precompute.summary.fingerprint, summary.completions, summary.cached, summary.scored, summary.seconds
        )
    training = run.outcome("training")
    live = None if training is None else training.summary.adapter_off
    if live is None or live.fingerprint is None:
        return None
    return UsedReference(live.fingerprint, live.completions, live.cached, live.scored, live.seconds)
