"""How often a state is kept in memory, by what it takes, and what the job's owner is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import pytest
from mlx import nn
from mlx.optimizers import SGD

from prefd.daemon.runs.step_memory import StepMemory
from prefd.daemon.worker.training import step_keeper
from prefd.daemon.worker.training.step_keeper import StepKeeper, choose_keeper

GB = 10**9


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[StepMemory]:
    monkeypatch.setattr(step_keeper, "machine", lambda: (16 * GB, 16 * GB))
    with StepMemory.open() as opened:
        yield opened


@pytest.mark.parametrize(
    ("kept_bytes", "spare_bytes", "parallel", "is_kept", "every_step"),
    [
        (GB // 2, -GB, 1, True, True),  # an adapter's: whatever the estimate says
        (GB // 2, GB, 2, True, False),
        (3 * GB, 4 * GB, 1, True, False),
        (3 * GB, 2 * GB, 1, False, True),
    ],
)
def test_small_states_are_always_kept_and_large_ones_where_there_is_room(
    memory: StepMemory, kept_bytes: int, spare_bytes: int, parallel: int, is_kept: bool, every_step: bool
) -> None:
    keeper, note = choose_keeper(memory, kept_bytes, spare_bytes, parallel)
    assert (keeper.memory is not None, keeper.every_step) == (is_kept, every_step)
    assert (note is None) == is_kept
    if note is not None:
        assert "2.8 GiB that training leaves no room for" in note


def test_a_large_state_is_kept_as_often_as_takes_a_fiftieth_of_the_time(
    memory: StepMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 0.3, 10.0, 10.01])
    monkeypatch.setattr(step_keeper.time, "monotonic", lambda: next(clock))
    model, keeper = nn.Linear(2, 2), StepKeeper(memory, every_step=False)
    written: list[int] = []
    monkeypatch.setattr(StepMemory, "write", lambda self, step, fill: written.append(step))
    for step in range(1, 5):
        keeper.keep(step, model, SGD(0.1), {}, 5.0)
    assert written == [1, 4]  # 0.3 s are a fiftieth of three steps
    assert keeper.due == 5
    assert "after every 3 steps only" in str(keeper.describe())
    assert StepKeeper(memory).describe() is None


def test_what_cannot_be_kept_is_told_once_and_training_goes_on(
    memory: StepMemory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: StepMemory, capacity: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StepMemory, "reserve", refuse)
    keeper = StepKeeper(memory)
    for step in (1, 2):
        keeper.keep(step, nn.Linear(2, 2), SGD(0.1), {}, 5.0)
    assert caplog.text.count("is not kept in memory") == 1


def test_a_state_of_every_type_comes_back_bit_for_bit(memory: StepMemory, tmp_path: Path) -> None:
    model, optimizer = nn.Linear(3, 2), SGD(0.1, momentum=0.9)
    model.set_dtype(mx.bfloat16)
    optimizer.init(model.trainable_parameters())
    optimizer.state["step"] = mx.array(2**40 + 1, mx.uint64)
    StepKeeper(memory).keep(3, model, optimizer, {"job": "01A", "unfinished": {"loss": 0.1 + 0.2}}, 1.0)
    path = tmp_path / "rescued.safetensors"
    assert memory.rescue(path) == 3
    other, other_optimizer = nn.Linear(3, 2), SGD(0.5, momentum=0.9)
    other.set_dtype(mx.bfloat16)
    assert step_keeper.restore_rescued(path, other, other_optimizer, 3, "01A") is None
    restored = step_keeper.restore_rescued(path, other, other_optimizer, 2, "01A")
    assert restored is not None
    assert restored.state["unfinished"] == {"loss": 0.1 + 0.2}
    assert mx.array_equal(other.weight, model.weight)
    assert other.weight.dtype == mx.bfloat16
    assert other_optimizer.state["step"].item() == 2**40 + 1
    assert other_optimizer.learning_rate.item() == optimizer.learning_rate.item()
