"""The memory check passes on prefd as it is, and fails where the estimate is off by two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.worker.selftest.checks import memory as check_of_memory
from prefd.daemon.worker.training import memory
from support.thinned import thin

pytestmark = pytest.mark.usefixtures("known_bits", "few_passes")


@pytest.fixture
def few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_of_memory, "PASSES", 2)


def test_the_estimate_is_near_what_is_taken() -> None:
    result = check_of_memory.check(None)
    assert result.outcome == "ok", result.finding
    assert result.numbers.keys() >= {"kept_mib", "recomputed_mib", "process_mib", "kept_bytes_a_token_and_layer"}


def test_a_model_of_ones_own_is_measured(tiny_model: Path) -> None:
    result = check_of_memory.check(str(tiny_model))
    assert "a pair takes" in result.finding or "were estimated" in result.finding
    assert result.numbers["kept_mib"] != 0


@pytest.mark.thorough
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_an_estimate_that_is_off_by_two_fails(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    real = memory.estimate

    def off(*arguments: Any) -> memory.Estimate:
        estimate = real(*arguments)
        return replace(estimate, activations=int(factor * estimate.activations))

    monkeypatch.setattr(memory, "estimate", off)
    result = check_of_memory.check(None)
    assert result.outcome == "failed"
    assert "MiB were estimated and" in result.finding
    assert "batch_tokens" in result.remedy


@pytest.mark.parametrize(
    ("buffers", "outcome"), thin([(2**30, "ok"), (3 * 2**30, "failed")], lambda case: case[1] == "failed")
)
def test_more_buffers_than_a_gpu_may_keep_fail(monkeypatch: pytest.MonkeyPatch, buffers: int, outcome: str) -> None:
    monkeypatch.setattr(check_of_memory, "measure_buffers", lambda scorer: buffers)
    open_model = check_of_memory.open_model
    network = open_model(None)  # in float32, as on a CPU
    monkeypatch.setattr(check_of_memory, "open_model", lambda model: network)
    monkeypatch.setattr(check_of_memory, "is_gpu", lambda: True)
    result = check_of_memory.check(None)
    assert result.outcome == outcome
    assert ("3072 MiB are kept for later after 2 passes, and 2048 are allowed" in result.finding) == (buffers > 2**31)
