"""Batches of a scoring become smaller while it runs, where a GPU takes long for them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.reference.scoring_batches import BatchSize, cut_batches, shrink_pieces
from prefd.daemon.worker.scoring.scorer import Options


@pytest.fixture
def missing() -> Mapping[bytes, Completion]:
    """64 answers to 64 prompts, of 100 tokens each."""
    return {bytes([number]): Completion(np.arange(number, number + 100).astype(np.uint32), 50) for number in range(64)}


def score(missing: Mapping[bytes, Completion], size: BatchSize, seconds: float) -> list[tuple[int, list[bytes]]]:
    """What the batches were bounded to, and the keys in each, when each takes so long and the next are cut anew."""
    scored = []
    remaining = dict(missing)
    while remaining:
        batch = cut_batches(remaining, size.max_tokens)[0]
        scored.append((size.max_tokens, [key for key, _ in batch]))
        for key, _ in batch:
            del remaining[key]
        size.note_seconds(seconds)
    return scored


@pytest.mark.parametrize(("layers", "seconds"), [(0, 1e6), (4, 2.0)])
def test_batches_of_a_cpu_and_those_that_are_quick_stay(
    missing: Mapping[bytes, Completion], layers: int, seconds: float
) -> None:
    assert {size for size, _ in score(missing, BatchSize(2048, layers), seconds)} == {2048}


def test_after_two_slow_batches_the_next_are_smaller(missing: Mapping[bytes, Completion]) -> None:
    scored = score(missing, BatchSize(2048, 4), 3.0)  # 0.75 s for a layer
    assert [size for size, _ in scored[:4]] == [2048, 2048, 1024, 1024]
    assert max(len(keys) for _, keys in scored[2:]) <= 10


def test_batches_do_not_become_smaller_than_what_keeps_a_gpu_busy(missing: Mapping[bytes, Completion]) -> None:
    assert min(size for size, _ in score(missing, BatchSize(2048, 4), 1000.0)) == 512


@pytest.mark.parametrize(
    ("chunk", "halvings", "expected"), [(None, 0, None), (None, 1, 2048), (1024, 1, 512), (1024, 9, 256)]
)
def test_a_sequence_that_takes_too_much_alone_runs_in_pieces(
    chunk: int | None, halvings: int, expected: int | None
) -> None:
    assert shrink_pieces(Options(chunk_tokens=chunk), 4096, halvings).chunk_tokens == expected
