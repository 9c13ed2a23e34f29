"""Answers log-probabilities of given tokens from the reference cache, and scores what it lacks: all that waits, at once.

A completion's key is that of a job's: of the tokens, and of where the answer begins. Every position but the first is an answer
that begins at 1; the last n of them are one that begins n before the end, as a job's answers do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.reference import Reference
from prefd.cache.segments.values import InvalidLogprobs
from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.errors import Interrupted, JobError
from prefd.daemon.worker.live.samplers import Sampler
from prefd.daemon.worker.reference.scoring_pass import batch_by_key, score
from prefd.daemon.worker.stopping import StopEvent


class Asked(NamedTuple):
    """Asked is a completion whose log-probabilities somebody waits for."""

    sampler: Sampler
    completion: Completion


class Counts(NamedTuple):
    """Counts says for how many completions the cache had an answer, and how many were scored."""

    hits: int = 0
    scored: int = 0

    def plus(self, hits: int, scored: int) -> Counts:
        """Return them with more counted."""
        return Counts(self.hits + hits, self.scored + scored)


NOTHING = Counts()


class ScoredAnswer(NamedTuple):
    """ScoredAnswer is the log-probability of each token of a completion's answer, and where it is from."""

    logprobs: npt.NDArray[np.float32]
    hit: bool
    """Whether the cache had it."""


@dataclass
class References:
    """References answers from the cache, and counts what it had and what was scored, in all of the session's workers."""

    open: Callable[[ReferenceFingerprint], Reference]
    batch_tokens: int
    stop: StopEvent
    counts: Counts = NOTHING
    stores: dict[str, Reference] = field(default_factory=dict)

    def answer(self, questions: Sequence[Asked]) -> list[ScoredAnswer]:
        """Answer all that is asked, in its order; what was scored is in the cache for good.

        Raises `JobError` for numbers that are none or a cache that cannot be written, `Interrupted` at a stop: what was
        scored until then is kept.
        """
        answers: dict[int, ScoredAnswer] = {}
        by_sampler: dict[str, list[int]] = {}
        for index, each in enumerate(questions):
            by_sampler.setdefault(each.sampler.fingerprint.sha256, []).append(index)
        for indices in by_sampler.values():
            answers |= zip(indices, self._answer_of_one([questions[index] for index in indices]))
        return [answers[index] for index in range(len(questions))]

    def _answer_of_one(self, questions: Sequence[Asked]) -> list[ScoredAnswer]:
        """Answer the questions to one sampler."""
        sampler = questions[0].sampler
        keys = [sampler.fingerprint.key(each.completion.ids, each.completion.start) for each in questions]
        store = self._open_store(sampler)
        missing = set(store.missing(keys))
        self._score(sampler, store, {key: each.completion for key, each in zip(keys, questions) if key in missing})
        self.counts = self.counts.plus(sum(key not in missing for key in keys), len(missing))
        return [ScoredAnswer(value, key not in missing) for key, value in zip(keys, store.get(keys))]

    def _score(self, sampler: Sampler, store: Reference, missing: dict[bytes, Completion]) -> None:
        """Score `missing` and commit it, also what there is of it when a stop comes between two batches."""
        scores: dict[bytes, npt.NDArray[np.float32]] = {}
        batches = batch_by_key(missing, self.batch_tokens)
        try:
            for index, batch in enumerate(batches):
                if index and self.stop.is_set():
                    raise Interrupted("the reference pass")
                scores |= score(sampler.scorer, batch)
        finally:
            self._commit(sampler, store, scores)

    def _commit(self, sampler: Sampler, store: Reference, scores: dict[bytes, npt.NDArray[np.float32]]) -> None:
        if not scores:
            return
        try:
            store.put(scores)
        except InvalidLogprobs as error:
            raise JobError(
                f"{sampler.source.adapter or sampler.source.model} gave no usable log-probabilities: {error}; nothing was kept"
            ) from error
        except OSError as error:
            raise JobError(f"the reference cache at {store.folder} cannot be written: {error}") from error

    def _open_store(self, sampler: Sampler) -> Reference:
        name = sampler.fingerprint.sha256
        if name not in self.stores:
            self.stores[name] = self.open(sampler.fingerprint)
        return self.stores[name]
