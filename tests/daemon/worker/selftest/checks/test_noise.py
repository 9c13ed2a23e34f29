"""The noise check passes on prefd as it is, and fails where a way of scoring is further off than rounding is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.selftest.checks import noise
from support.emulated_metal import emulated_metal

pytestmark = pytest.mark.usefixtures("known_bits")


@pytest.mark.thorough
def test_each_type_is_measured() -> None:
    result = noise.check(None)
    assert result.outcome == "ok", result.finding
    assert {f"{dtype}_mean" for dtype in noise.DTYPES} <= result.numbers.keys()
    half = [result.numbers[f"{dtype}_from_float32"] for dtype in ("bfloat16", "float16")]
    assert isinstance(half[0], float)
    assert isinstance(half[1], float)
    assert half[0] > half[1] > 1e-5  # bfloat16 has 8 bits, float16 has 11


@pytest.mark.thorough
def test_a_way_that_is_off_fails_in_the_types_whose_limit_it_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    def off(scorer: Scorer, completions: Sequence[Completion]) -> noise.Scores:
        return noise._score(scorer, completions) + 0.06

    monkeypatch.setattr(noise, "WAYS", {"all at once": noise._score, "off": off})
    result = noise.check(None)
    assert result.outcome == "failed"
    assert "float32 0.06 (limit 0.001)" in result.finding
    assert "float16 0.06 (limit 0.04)" in result.finding
    assert "bfloat16" not in result.finding  # its limit is 0.1
    assert "compute_dtype: float32" in result.remedy


@pytest.mark.thorough  # ../../training/test_start_check.py has them on a real model
def test_the_kernels_of_metal_are_seen_and_pass() -> None:
    with emulated_metal():
        result = noise.check(None)
    assert result.outcome == "ok", result.finding
    measured = result.numbers["bfloat16_mean"]
    assert isinstance(measured, float)
    assert measured > 1e-3
