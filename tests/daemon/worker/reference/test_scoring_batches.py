"""Batches of a scoring become smaller while it runs, where a GPU takes long for them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.reference.scoring_batches import ScoringBatches


@pytest.fixture
def missing() -> Mapping[bytes, Completion]:
    """64 answers to 64 prompts, of 100 tokens each."""
    return {bytes([number]): Completion(np.arange(number, number + 100).astype(np.uint32), 50) for number in range(64)}


def score(batches: ScoringBatches, seconds: float) -> list[tuple[int, list[bytes]]]:
    """What the batches were bounded to, and the keys in each, when each takes so long."""
    scored = []
    for batch in batches:
        scored.append((batches.max_tokens, [key for key, _ in batch]))
        batches.note_seconds(seconds)
    return scored


@pytest.mark.parametrize(("layers", "seconds"), [(0, 1e6), (4, 2.0)])
def test_batches_of_a_cpu_and_those_that_are_quick_stay(
    missing: Mapping[bytes, Completion], layers: int, seconds: float
) -> None:
    assert {size for size, _ in score(ScoringBatches(missing, 2048, layers), seconds)} == {2048}


def test_after_two_slow_batches_the_rest_is_cut_anew_and_each_answer_is_scored_once(
    missing: Mapping[bytes, Completion],
) -> None:
    scored = score(ScoringBatches(missing, 2048, 4), 3.0)  # 0.75 s for a layer
    assert [size for size, _ in scored[:4]] == [2048, 2048, 1024, 1024]
    assert sorted(key for _, keys in scored for key in keys) == sorted(missing)
    assert max(len(keys) for _, keys in scored[2:]) <= 10


def test_batches_do_not_become_smaller_than_what_keeps_a_gpu_busy(missing: Mapping[bytes, Completion]) -> None:
    assert min(size for size, _ in score(ScoringBatches(missing, 2048, 4), 1000.0)) == 512
