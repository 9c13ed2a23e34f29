"""The reference as other trainers have it: a second model in memory, run again in every step."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.training.trainer import ReferenceScores
from prefd.plugins.types import Logprobs


def live_reference(scorer: Scorer) -> ReferenceScores:
    """What a trainer reads the cache with, answered by `scorer` instead."""

    def scores(completions: Sequence[Completion]) -> Logprobs:
        scored = scorer.logprobs(completions)
        return Logprobs(mx.stop_gradient(scored.tokens), scored.mask)

    return scores


def live(job: RunningJob) -> ReferenceScores:
    """The reference of `job`, loaded beside its policy."""
    return live_reference(fastest_scorer(loading.load(job.reference).freeze()))
