"""A worker's last step outlives it whole, whenever it dies, and nothing else is taken for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.step_memory import (
    SEAL_BYTES,
    BadSeal,
    SlotWriter,
    StateTooLarge,
    StepMemory,
    rescue_step,
    verify_rescued,
)


class Death(BaseException):
    """What ends a worker in the midst of something."""


@pytest.fixture
def memory() -> Iterator[StepMemory]:
    with StepMemory.open() as opened:
        opened.reserve(100)
        yield opened


def write(memory: StepMemory, step: int, state: bytes) -> None:
    memory.write(step, lambda slot: slot.write(state))


def rescued(memory: StepMemory, path: Path, after: int = 0) -> tuple[int, bytes] | None:
    step = memory.rescue(path, after)
    if step is None:
        assert not path.exists()
        return None
    assert verify_rescued(path) == step
    return step, path.read_bytes()[:-SEAL_BYTES]


def test_the_newest_state_is_rescued_and_an_older_one_than_the_checkpoints_is_not(
    memory: StepMemory, tmp_path: Path
) -> None:
    path = tmp_path / "rescued"
    assert rescued(memory, path) is None
    for step in (1, 2, 3):
        write(memory, step, b"state %d" % step)
    assert rescued(memory, path, after=3) is None
    assert rescued(memory, path, after=2) == (3, b"state 3")
    write(memory, 3, b"its evaluation too")
    assert rescued(memory, path) == (3, b"its evaluation too")


def test_memory_that_no_worker_has_sized_has_nothing(tmp_path: Path) -> None:
    with StepMemory.open() as opened:
        assert rescued(opened, tmp_path / "rescued") is None


def test_a_worker_that_dies_while_it_writes_leaves_the_state_before(memory: StepMemory, tmp_path: Path) -> None:
    write(memory, 1, b"state 1")
    write(memory, 2, b"state 2")

    def die(slot: SlotWriter) -> None:
        slot.write(b"sta")
        raise Death

    with pytest.raises(Death):
        memory.write(3, die)
    assert rescued(memory, tmp_path / "rescued") == (2, b"state 2")


def test_a_state_that_is_not_what_was_sealed_is_not_taken(memory: StepMemory, tmp_path: Path) -> None:
    write(memory, 1, b"state 1")
    write(memory, 2, b"state 2")
    mapping = memory._map()
    offset = mapping.find(b"state 2")
    mapping[offset : offset + 1] = b"S"
    assert rescued(memory, tmp_path / "rescued") == (1, b"state 1")


def test_a_state_that_does_not_fit_leaves_those_before(memory: StepMemory, tmp_path: Path) -> None:
    write(memory, 1, b"state 1")
    with pytest.raises(StateTooLarge, match="more than 100 bytes"):
        write(memory, 2, bytes(101))
    write(memory, 3, bytes(100))
    assert rescued(memory, tmp_path / "rescued") == (3, bytes(100))


@pytest.mark.parametrize("place", [0, 7, 8, 30, -1])
def test_a_file_that_the_disk_damaged_is_told_from_a_whole_one(memory: StepMemory, tmp_path: Path, place: int) -> None:
    path = tmp_path / "rescued"
    write(memory, 1, b"state 1")
    memory.rescue(path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadSeal):
        verify_rescued(path)
    path.write_bytes(content[:5])
    with pytest.raises(BadSeal):
        verify_rescued(path)


def test_a_disk_that_takes_no_more_loses_the_state_and_says_so(
    memory: StepMemory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(memory, 1, b"state 1")
    rescue_step(memory, RunDir(tmp_path / "gone"))
    assert "the state that its worker had kept is lost" in caplog.text
