"""The check of starts passes on prefd as it is, and fails where cached scores are off, or another model passes for the right one."""

from __future__ import annotations

from typing import Any

import pytest

from prefd.daemon.worker.scoring import plan
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Options
from prefd.daemon.worker.selftest.checks import drift
from prefd.daemon.worker.selftest.random_models import ARCHITECTURES
from prefd.daemon.worker.training.start_check import StartDrift
from support.emulated_metal import emulated_metal
from support.thinned import thin

pytestmark = pytest.mark.usefixtures("known_bits")


@pytest.mark.thorough  # what it finds of another model is tried below
@pytest.mark.parametrize("architectures", [("llama",), ARCHITECTURES])
def test_the_right_model_passes_twenty_times_and_another_never(
    monkeypatch: pytest.MonkeyPatch, architectures: tuple[str, ...]
) -> None:
    monkeypatch.setattr(drift, "ARCHITECTURES", architectures)
    result = drift.check(None)
    assert result.outcome == "ok", result.finding
    assert f"{20 * len(architectures)} checks" in result.finding
    right, other = result.numbers["llama_float32_drift"], result.numbers["llama_float32_other_model"]
    assert isinstance(right, float)
    assert isinstance(other, float)
    assert right < 1e-4
    assert other > 0.1


def test_a_cache_with_other_numbers_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    real = drift.score_at_once

    def shifted(*arguments: Any) -> Any:
        return [row + 0.01 for row in real(*arguments)]

    monkeypatch.setattr(drift, "score_at_once", shifted)
    monkeypatch.setattr(drift, "PAIRS", 8)
    monkeypatch.setattr(drift, "ARCHITECTURES", ("llama",))
    result = drift.check(None)
    assert result.outcome == "failed"
    assert result.finding == "4 of 4 checks of the right model would stop a job (llama_float32)"


def test_another_model_that_passes_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "PAIRS", 8)
    monkeypatch.setattr(drift, "ARCHITECTURES", ("llama",))
    monkeypatch.setattr(drift, "ADAPTER_SPREAD", 0.0)  # an adapter that changes nothing
    result = drift.check(None)
    assert result.outcome == "failed"
    assert result.finding == "2 of 2 checks of a model with another adapter passed (llama_float32)"


@pytest.mark.parametrize(
    ("doubtful", "outcome"), [(2, []), (3, ["3 of 20 checks of the right model were doubtful (x)"])]
)
def test_few_doubts_are_no_failure(doubtful: int, outcome: list[str]) -> None:
    starts = [StartDrift(0.06 if number < doubtful else 0.01, 0.01, "bfloat16") for number in range(20)]
    trial = drift.Trial("x", starts, [StartDrift(0.3, 0.01, "bfloat16")])
    assert list(trial.list_faults()) == outcome


@pytest.mark.parametrize("architecture", thin(["llama", "gemma2"], ("llama").__eq__))
def test_half_precision_passes_with_the_kernels_of_metal(monkeypatch: pytest.MonkeyPatch, architecture: str) -> None:
    as_on_metal = Options(plan.METAL, lazily=True, as_trained=True)
    monkeypatch.setattr(drift, "fastest_scorer", lambda model: fastest_scorer(model, as_on_metal))
    with emulated_metal() as metal:
        trial = drift.try_starts(architecture, "bfloat16")
    assert metal.split_products > 0
    assert max(start.rounding for start in trial.right) > 1e-3  # far beyond what float32 is allowed
    assert list(trial.list_faults()) == []
