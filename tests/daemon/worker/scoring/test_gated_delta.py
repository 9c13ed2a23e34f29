"""The fused gated-delta rule: mlx-lm's own loop on a CPU, and on a GPU taken where a trial finds it exact."""

from __future__ import annotations

import mlx.core as mx
import pytest
from mlx_lm.models import gated_delta as mlx_lm_rule

from prefd.daemon.worker.scoring import gated_delta
from prefd.daemon.worker.scoring.gated_delta import is_exact, is_hybrid, measure_error, run_loop, take_fused_rule
from support import tiny_architectures


@pytest.fixture(autouse=True)
def own_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlx_lm_rule, "gated_delta_ops", run_loop)
    is_exact.cache_clear()


def test_its_numbers_and_gradients_are_the_loops() -> None:
    assert measure_error(mx.float32) < 1e-6
    assert is_exact()


def test_a_hybrid_runs_it_to_the_same_numbers_and_another_model_is_left_alone() -> None:
    hybrid, llama = (tiny_architectures.build(name) for name in ("qwen3_next", "llama"))
    assert (is_hybrid(hybrid), is_hybrid(llama)) == (True, False)
    take_fused_rule(llama)
    assert mlx_lm_rule.gated_delta_ops is run_loop
    tokens = mx.array([[1, 2, 3, 4, 5]])
    looped = hybrid(tokens)
    take_fused_rule(hybrid)
    assert mlx_lm_rule.gated_delta_ops is gated_delta.run_fused
    assert mx.allclose(hybrid(tokens), looped, atol=1e-6)


def test_a_gate_for_each_number_of_a_key_runs_the_loop() -> None:
    q = k = mx.ones((1, 2, 1, 4))
    v, beta, gate = mx.ones((1, 2, 1, 4)), mx.ones((1, 2, 1)), mx.full((1, 2, 1, 4), 0.5)
    for actual, expected in zip(gated_delta.run_fused(q, k, v, gate, beta), run_loop(q, k, v, gate, beta)):
        assert mx.array_equal(actual, expected)


def test_one_with_wrong_gradients_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    @mx.custom_function
    def wrong(*arrays: mx.array) -> list[mx.array]:
        return list(run_loop(*arrays[:6], arrays[6]))

    @wrong.vjp
    def _(primals: list[mx.array], _: list[mx.array], __: list[mx.array]) -> list[mx.array]:
        return [mx.zeros_like(each) for each in primals]

    monkeypatch.setattr(mx.fast, "gated_delta_update", wrong)
    assert not is_exact()
    take_fused_rule(tiny_architectures.build("qwen3_next"))
    assert mlx_lm_rule.gated_delta_ops is run_loop
