"""The speed check says from how many tokens on a device is busy, and fails where its products are far too slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from prefd.daemon.worker.scoring import plan
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Options
from prefd.daemon.worker.selftest.checks import speed
from prefd.daemon.worker.selftest.checks.speed import Saturation

pytestmark = pytest.mark.usefixtures("known_bits")


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "ROWS", (64, 128))
    monkeypatch.setattr(speed, "LEAST_GFLOPS", {"cpu": 0.001, "gpu": 0.001})  # a test's machine may be busy


def test_a_device_is_busy_where_more_rows_gain_little() -> None:
    assert Saturation({64: 10.0, 128: 19.0, 256: 30.0, 512: 31.0, 1024: 30.5}).rows == 256
    assert Saturation({64: 10.0}).rows == 64


@pytest.mark.usefixtures("few_rows")
@pytest.mark.thorough
def test_products_scoring_and_training_are_measured() -> None:
    result = speed.check(None)
    assert result.outcome == "ok", result.finding
    for name in ("float32_gflops", "bfloat16_gflops", "4-bit_gflops", "training_tokens_per_second"):
        measured = result.numbers[name]
        assert isinstance(measured, float | int)
        assert measured > 0
    assert result.numbers["suggested_batch_tokens"] in (64, 128)


@pytest.mark.usefixtures("few_rows")
@pytest.mark.thorough
def test_slow_products_fail_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(make_call: Callable[..., Any], rows: tuple[int, ...]) -> Saturation:
        return Saturation(dict.fromkeys(rows, 4.0))  # the reference BLAS

    monkeypatch.setattr(speed, "measure_saturation", slow)
    monkeypatch.setattr(speed, "LEAST_GFLOPS", {"cpu": 10.0, "gpu": 10.0})
    result = speed.check(None)
    assert result.outcome == "failed"
    assert result.finding.startswith("slower than 10 GFLOP/s in float32: float32 4,")
    assert result.remedy in speed.REMEDIES.values()


@pytest.mark.usefixtures("few_rows")
@pytest.mark.thorough
def test_where_a_step_is_one_graph_its_writing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    lazily = Options(plan.METAL, lazily=True)
    monkeypatch.setattr(speed, "fastest_scorer", lambda network: fastest_scorer(network, lazily))
    measured = speed.check(None).numbers["graph_ms_a_layer"]
    assert isinstance(measured, float)
    assert measured > 0
