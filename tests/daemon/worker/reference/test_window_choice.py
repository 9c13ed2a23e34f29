"""How many layers are in memory at a time: all that fit, what the spec says, and a refusal where none does."""

from __future__ import annotations

from typing import Any

import pytest
from mlx import nn

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models import memory
from prefd.daemon.worker.reference import window_choice
from prefd.daemon.worker.reference.window_choice import ModelSizes, choose_windows
from support import tiny_architectures

MIB = 2**20
BATCH = 64


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return tiny_architectures.build("gemma3_text").freeze()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets the machine have so many bytes, as many of them free as are given."""
    monkeypatch.setattr(window_choice, "HEAD_BYTES", 0)
    monkeypatch.setattr(window_choice, "BATCH_STATES", 1)

    def has(total: float, free: float | None = None) -> None:
        monkeypatch.setattr(memory, "machine", lambda: (int(total), int(total if free is None else free)))

    return has


def test_sizes_are_those_of_the_parts(model: nn.Module) -> None:
    sizes = ModelSizes.measure(model)
    assert (len(sizes.layers), sizes.state) == (6, 4 * 32)
    assert sizes.total == memory.count_bytes(model.parameters())
    assert 0 < sizes.frame < sizes.total


def test_what_fits_is_in_memory_whole_unless_the_spec_wants_otherwise(model: nn.Module, machine: Any) -> None:
    machine(100 * MIB)
    assert choose_windows(model, "org/m", None, BATCH) is None
    assert choose_windows(model, "org/m", 6, BATCH) is None
    assert choose_windows(model, "org/m", 99, BATCH) is None
    windows = choose_windows(model, "org/m", 2, BATCH)
    assert windows is not None
    assert (windows.size, windows.chunk_tokens) == (2, window_choice.CHUNK_TOKENS[window_choice.find_tier()])


def test_what_does_not_fit_gets_the_largest_window_that_does(model: nn.Module, machine: Any) -> None:
    sizes = ModelSizes.measure(model)
    choices = []
    for layers in (2, 4, 6, 8):
        machine(sizes.total - 1, (sizes.frame + layers * max(sizes.layers)) / window_choice.USABLE)
        windows = choose_windows(model, "org/m", None, BATCH)
        assert windows is not None
        choices.append(windows.size)
        within = (sizes.frame + layers * max(sizes.layers)) * 1.01
        assert windows.memory_bytes <= within or windows.chunk_tokens == BATCH
    assert choices == sorted(choices)
    assert choices[0] == 1
    assert choices[-1] > 3


def test_a_window_that_does_not_fit_is_refused_with_the_remedy(model: nn.Module, machine: Any) -> None:
    sizes = ModelSizes.measure(model)
    machine(sizes.frame + 2 * max(sizes.layers))
    with pytest.raises(
        JobError, match=r"reference\.window is 3, and org/m takes .*: name a smaller window, or leave it out"
    ):
        choose_windows(model, "org/m", 3, BATCH)
    machine(sizes.frame)
    with pytest.raises(
        JobError, match=r"too little for one layer at a time\. Name a smaller reference, or score on a larger"
    ):
        choose_windows(model, "org/m", None, BATCH)


def test_a_model_without_layers_is_refused_as_before(machine: Any) -> None:
    plain = nn.Linear(1024, 1024, bias=False)
    machine(100 * MIB)
    assert choose_windows(plain, "org/m", None, BATCH) is None
    with pytest.raises(JobError, match=r"reference\.window is 2, and org/m has no layers that are found"):
        choose_windows(plain, "org/m", 2, BATCH)
    machine(MIB)
    with pytest.raises(
        JobError, match=r"the weights of org/m take 0\.0 GiB; this machine has 0\.0 GiB in all\. Name a smaller"
    ):
        choose_windows(plain, "org/m", None, BATCH)
