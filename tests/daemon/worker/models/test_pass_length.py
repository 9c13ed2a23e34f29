"""How many tokens a GPU computes at once, by what a layer takes."""

import pytest
from mlx import nn

from prefd.daemon.worker.models import loading, pass_length
from prefd.daemon.worker.models.pass_length import SAMPLE_TOKENS, bound_tokens, measure_layer
from support import tiny_architectures


@pytest.mark.parametrize(
    ("layer_seconds", "tokens"),
    [(0.001, 16384), (0.0156, 16384), (0.016, 8192), (0.07, 2048), (60.0, SAMPLE_TOKENS)],
)
def test_a_layer_keeps_the_gpu_for_half_a_second_at_most(
    monkeypatch: pytest.MonkeyPatch, layer_seconds: float, tokens: int
) -> None:
    monkeypatch.setattr(loading, "device", lambda: "gpu")
    chosen = bound_tokens(nn.Module(), 16384, lambda _: layer_seconds)
    assert chosen == tokens
    assert chosen == SAMPLE_TOKENS or chosen * layer_seconds / SAMPLE_TOKENS <= pass_length.LONGEST_SECONDS


def test_a_cpu_is_not_bounded_nor_measured() -> None:
    def refuse(_: nn.Module) -> float:
        raise AssertionError("measured")

    assert bound_tokens(nn.Module(), 2048, refuse) == 2048


def test_a_layers_time_is_measured_on_the_model_itself() -> None:
    assert 0 < measure_layer(tiny_architectures.build("llama")) < 60
