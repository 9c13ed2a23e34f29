"""The exactness check passes on prefd as it is, and fails where scores, gradients or the fast way are not right."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from mlx import nn
from mlx.utils import tree_map

from prefd.daemon.worker.scoring.scorer import Options, Scorer
from prefd.daemon.worker.selftest.checks import exactness
from prefd.plugins.types import Logprobs

pytestmark = pytest.mark.usefixtures("known_bits")


@pytest.fixture
def one_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exactness, "ARCHITECTURES", ("llama",))


@pytest.mark.thorough
def test_all_architectures_are_exact() -> None:
    result = exactness.check(None)
    assert result.outcome == "ok", result.finding
    assert {name.partition("_nats")[0] for name in result.numbers if name.endswith("nats")} == {
        "llama", "qwen3", "gemma2", "qwen3_moe",
    }  # fmt: skip
    assert "4 architectures" in result.finding


@pytest.mark.usefixtures("one_architecture")
def test_scores_that_are_a_little_off_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Scorer.logprobs

    def shifted(scorer: Scorer, completions: Any) -> Logprobs:
        scores = real(scorer, completions)
        return Logprobs(scores.tokens + 5e-4, scores.mask)

    monkeypatch.setattr(Scorer, "logprobs", shifted)
    result = exactness.check(None)
    assert result.outcome == "failed"
    assert result.finding.startswith("llama: float32 is within 0.0005 nats")
    assert "do not train here" in result.remedy


@pytest.mark.usefixtures("one_architecture")
def test_gradients_of_another_size_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    real = exactness.fastest_scorer

    class Scaled(Scorer):
        def value_and_grad(self, completions: Any, share: Any) -> Any:
            value, gradients = super().value_and_grad(completions, share)
            return value, tree_map(lambda gradient: 1.01 * gradient, gradients)

    def scaled_scorer(model: nn.Module) -> Scorer:
        return Scaled(**vars(real(model)))

    monkeypatch.setattr(exactness, "fastest_scorer", scaled_scorer)
    result = exactness.check(None)
    assert result.outcome == "failed"
    assert "0.01 of a gradient" in result.finding


@pytest.mark.usefixtures("one_architecture")
def test_an_architecture_that_is_scored_at_every_position_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(model: nn.Module) -> Scorer:
        return Scorer(model, None, False, model(mx.array([[1]])).shape[-1], Options())

    monkeypatch.setattr(exactness, "fastest_scorer", plain)
    result = exactness.check(None)
    assert result.outcome == "failed"
    assert "the fast way of scoring was not taken for llama" in result.finding
