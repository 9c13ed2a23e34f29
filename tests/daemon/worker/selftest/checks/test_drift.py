"""The check of starts passes on prefd as it is, and fails where cached scores are off, or another model passes for the right one."""

from __future__ import annotations

from typing import Any

import pytest

from prefd.daemon.worker.selftest.checks import drift

pytestmark = pytest.mark.usefixtures("known_bits")


def test_the_right_model_passes_twenty_times_and_another_never() -> None:
    result = drift.check(None)
    assert result.outcome == "ok", result.finding
    assert "20 checks" in result.finding
    right, other = result.numbers["float32_drift"], result.numbers["float32_other_model"]
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
    result = drift.check(None)
    assert result.outcome == "failed"
    assert "4 of 4 checks of the right model in float32 were doubtful" in result.finding


def test_another_model_that_passes_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "PAIRS", 8)
    monkeypatch.setattr(drift, "ADAPTER_SPREAD", 0.0)  # an adapter that changes nothing
    result = drift.check(None)
    assert result.outcome == "failed"
    assert result.finding == "a model with another adapter passed in float32"
