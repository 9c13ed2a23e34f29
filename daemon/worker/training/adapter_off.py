"""The reference that is the policy itself with its adapter off, for a spec with `reference.live: adapter_off`.

A LoRA or DoRA on its own base needs no second model: with the adapters at rest the policy computes the base's numbers. What the
cache has is read from there; the rest is scored beside each micro-batch, and committed with the checkpoints (`reference.store`).
So a run that goes on from a checkpoint finds what the unbroken one had at that step, and scores what is missing in the same batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from mlx import nn

from prefd.cache.segments.values import InvalidLogprobs
from prefd.daemon.runs.phase_summaries import AdapterOffSummary
from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.models.resting_adapters import RestingAdapters
from prefd.daemon.worker.reference.scoring_pass import Scores, batch_by_key, score
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.training.trainer import pad_rows
from prefd.plugins.types import Logprobs


def open_adapter_off(job: SpecifiedJob, model: nn.Module, scorer: Callable[[], Scorer]) -> AdapterOffReference:
    """Open the reference of a job whose spec has `reference.live`, under its policy `model`; `scorer` is the policy's at each call."""
    assert job.spec.reference is not None
    job.store.refresh()
    return AdapterOffReference(job, scorer, RestingAdapters.find(model), job.spec.reference.store)


@dataclass
class AdapterOffReference:
    """AdapterOffReference scores completions with the policy's base, and keeps what it scores. `scorer` is the policy's, as it is now."""

    job: SpecifiedJob
    scorer: Callable[[], Scorer]
    adapters: RestingAdapters
    store: bool = True
    """Whether what is scored is written to the cache; if not, a completion is scored at each of its steps."""
    pending: Scores = field(default_factory=dict)
    """Scores that are not committed yet."""
    scored: int = 0
    met: set[bytes] = field(default_factory=set)
    """Keys of all completions so far."""
    cached: int = 0
    """Completions that the cache had when they were first met."""
    seconds: float = 0.0
    """Of scoring and committing."""

    def __call__(self, completions: Sequence[Completion]) -> Logprobs:
        """Return the reference's log-probabilities of `completions`: cached ones, and those that it scores now."""
        by_key, values = self._find(completions)
        if missing := {key: completion for key, completion in by_key.items() if key not in values}:
            values |= self._score(missing)
        return pad_rows([values[self.job.key(completion)] for completion in completions])

    def score_all(self, completions: Sequence[Completion]) -> list[npt.NDArray[np.float32]]:
        """Return the (length,) log-probabilities of each of all completions: for ranks, which are given them before the first step."""
        by_key, values = self._find(completions)
        missing = {key: completion for key, completion in by_key.items() if key not in values}
        for batch in batch_by_key(missing):
            values |= self._score(dict(batch))
        self.commit()
        return [values[self.job.key(completion)] for completion in completions]

    def _find(self, completions: Sequence[Completion]) -> tuple[dict[bytes, Completion], Scores]:
        """Find what is known already of `completions`: these by their keys, and the scores of those that are."""
        by_key = {self.job.key(completion): completion for completion in completions}
        values: Scores = {key: self.pending[key] for key in by_key if key in self.pending}
        sought = [key for key in by_key if key not in values]
        for key, value in zip(sought, self.job.store.find(sought)):
            if value is not None:
                values[key] = value
                self.cached += key not in self.met
        self.met |= by_key.keys()
        return by_key, values

    def _score(self, missing: dict[bytes, Completion]) -> Scores:
        began = time.monotonic()
        with self.adapters.hold():
            scores = score(self.scorer(), list(missing.items()))
        for key, values in scores.items():
            self._check(missing[key], values)
        self.scored += len(scores)
        if self.store:
            self.pending |= scores
        self.seconds += time.monotonic() - began
        return scores

    def _check(self, completion: Completion, values: npt.NDArray[np.float32]) -> None:
        """Raise `JobError` for numbers that are no log-probabilities, which would be trained on before the cache refuses them."""
        if np.isfinite(values).all():
            return
        pairs = [each for each in self.job.examples if completion in (each.chosen, each.rejected)]
        raise JobError(
            f"{self.job.policy.model} with its adapter off gives no usable log-probabilities for {pairs[0] if pairs else 'a pair'}: "
            f"{values[~np.isfinite(values)][0]} for one of its tokens; look at that row, or take it out"
        )

    def commit(self) -> None:
        """Write what was scored since the last commit to the cache. Raises `JobError` where that cannot be done."""
        began = time.monotonic()
        try:
            self.job.store.put(self.pending)
        except InvalidLogprobs as error:
            raise JobError(
                f"{self.job.policy.model} with its adapter off gave no usable log-probabilities: {error}"
            ) from error
        except OSError as error:
            raise JobError(f"the reference cache at {self.job.cache.path} cannot be written: {error}") from error
        self.pending = {}
        self.seconds += time.monotonic() - began

    def summarize(self) -> AdapterOffSummary:
        """Say what was scored, for the job's report."""
        return AdapterOffSummary(
            fingerprint=self.job.fingerprint.name,
            completions=len(self.met),
            cached=self.cached,
            scored=self.scored,
            stored=self.store,
            seconds=self.seconds,
        )
