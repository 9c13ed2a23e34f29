"""Micro-batches that are built while others run: in their order, each finished once."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from prefd.daemon.worker.training.running_batches import RunningBatches


@pytest.mark.parametrize("ahead", [0, 1])
def test_each_is_finished_once_in_order_and_at_most_one_is_behind(ahead: int) -> None:
    finished: list[tuple[Any, float]] = []
    running = RunningBatches(lambda batch, sums, seconds: finished.append((batch, float(sums["loss"]))), ahead)
    total = mx.array(0.0)
    for number in range(3):
        running.begin()
        total = total + number
        running.start([number], {"loss": total * 2}, [total])  # type: ignore[list-item]  # pairs are not looked at
        assert len(finished) == max(0, number + 1 - ahead)
    running.finish_all()
    assert finished == [([0], 0.0), ([1], 2.0), ([2], 6.0)]
