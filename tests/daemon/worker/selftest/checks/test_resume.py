"""The check of a resume passes on prefd as it is, and fails where a checkpoint is not all that the rest depends on."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from mlx import nn
from mlx.optimizers import Optimizer
from mlx.utils import tree_map

from prefd.daemon.worker.selftest.checks import resume
from prefd.daemon.worker.training.checkpoint import Checkpoints, RestoredCheckpoint

pytestmark = pytest.mark.usefixtures("known_bits")


@pytest.mark.thorough  # ../../training/test_run.py has the bits
def test_three_ways_of_training_end_with_the_same_bits() -> None:
    result = resume.check(None)
    assert result.outcome == "ok", result.finding
    assert result.numbers == {"LoRA": 0.0, "LoRA, 3 answers a prompt": 0.0, "full": 0.0}


@pytest.mark.thorough
def test_an_optimizer_whose_state_is_lost_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Checkpoints.restore

    def forget(checkpoints: Checkpoints, model: nn.Module, optimizer: Optimizer) -> RestoredCheckpoint | None:
        restored = real(checkpoints, model, optimizer)
        if restored is not None:
            optimizer.state = tree_map(mx.zeros_like, optimizer.state)
        return restored

    monkeypatch.setattr(Checkpoints, "restore", forget)
    monkeypatch.setattr(resume, "CASES", resume.CASES[:1])
    result = resume.check(None)
    assert result.outcome == "failed"
    assert result.finding.startswith("6 steps end with other weights than 3, a resume and 3: LoRA by ")


@pytest.mark.parametrize(
    ("gpu", "differing", "outcome"),
    [(True, "full", "ok"), (True, "LoRA", "failed"), (False, "full", "failed"), (False, "", "ok")],
)
def test_a_gpu_promises_the_same_bits_of_lora_alone(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, differing: str, outcome: str
) -> None:
    def compare(*arguments: Any) -> float:
        return 1e-6 if arguments[-1].name == differing else 0.0

    monkeypatch.setattr(resume, "is_gpu", lambda: gpu)
    monkeypatch.setattr(resume, "compare", compare)
    result = resume.check(None)
    assert result.outcome == outcome
    if gpu and outcome == "ok":
        assert "near, as is all that a GPU promises there: full by 1e-06" in result.finding


def test_a_large_difference_fails_on_a_gpu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "is_gpu", lambda: True)
    monkeypatch.setattr(resume, "compare", lambda *_: 0.01)
    assert resume.check(None).outcome == "failed"
