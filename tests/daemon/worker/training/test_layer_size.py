"""What a layer keeps is counted from its shapes, near what MLX measures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
from mlx import nn
from mlx_lm.models import gemma2, llama, qwen3
from mlx_lm.tuner.utils import linear_to_lora_layers

from prefd.daemon.worker.training.largest_batch import TokenRun
from prefd.daemon.worker.training.layer_size import LayerSize
from support.array_memory import count_held_bytes

TOKENS = 192


def build(module: Any, layers: int = 1, rank: int = 8, use_dora: bool = False) -> nn.Module:
    settings = {
        "model_type": module.__name__.rpartition(".")[2],
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "vocab_size": 32,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 512,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
    }
    model: nn.Module = module.Model(module.ModelArgs.from_dict(settings))
    model.freeze()
    linear_to_lora_layers(model, -1, {"rank": rank, "scale": 20.0, "dropout": 0.0}, use_dora=use_dora)
    mx.eval(model.parameters())
    return model


def measure_kept(module: Any, layers: int, use_dora: bool) -> int:
    """Measure the bytes that exist after a forward pass whose gradient is traced."""
    model = build(module, layers, use_dora=use_dora)
    tokens = mx.arange(TOKENS)[None] % 32

    def run() -> tuple[mx.array, mx.array]:
        hidden = model.model(tokens)
        return hidden.sum(), hidden

    mx.clear_cache()
    before = count_held_bytes()
    (_, hidden), gradients = nn.value_and_grad(model, run)()
    mx.eval(hidden)
    kept_bytes = mx.get_active_memory() - before
    assert gradients
    return kept_bytes


@pytest.mark.parametrize(
    ("module", "use_dora"),
    [
        pytest.param(llama, False, id="llama"),
        pytest.param(qwen3, False, id="qwen3"),
        pytest.param(gemma2, False, id="gemma2"),
        pytest.param(llama, True, id="llama, dora"),
    ],
)
def test_what_a_layer_keeps_is_what_mlx_holds_after_its_forward_pass(module: Any, use_dora: bool):
    """Qwen3 has norms of queries and keys; Gemma 2 has GELU, two more norms, and a cap on the scores."""
    bytes_of_layer = (measure_kept(module, 3, use_dora) - measure_kept(module, 1, use_dora)) / 2
    model = build(module, use_dora=use_dora)
    size = LayerSize.count(model.layers[0], model.args)
    assert size.count_kept_bytes(TokenRun(TOKENS, TOKENS**2)) == pytest.approx(bytes_of_layer, rel=0.15)


def test_the_arrays_of_a_llama_layer_add_up():
    """Outputs 128 + 64 + 64 + 64 and 192 + 192 + 64, inputs 64 + 128 and 64 + 192, ranks 7 · 8, SiLU's 2 · 192."""
    size = LayerSize.count(build(llama).layers[0], build(llama).args)
    assert size.per_token == (320 + 448) + (192 + 256) + 56 + 384
    assert (size.per_score, size.heads, size.between) == (2, 2, 192)


def test_dora_keeps_what_it_scales_and_the_weights_that_it_reads_out():
    """All outputs a second time; and of weights of 64 · 128 · 2 + 64 · 64 · 2 + 3 · 64 · 192 numbers, the norm of each."""
    plain, scaled = (
        LayerSize.count(build(llama, use_dora=dora).layers[0], build(llama).args) for dora in (False, True)
    )
    assert scaled.per_token - plain.per_token == 320 + 448
    assert (scaled.unpacked_bytes, scaled.rescaled_bytes) == (0, 4 * (2 * 64 * 128 + 2 * 64 * 64 + 3 * 64 * 192))
    assert (plain.unpacked_bytes, plain.rescaled_bytes) == (0, 0)


def test_packed_weights_and_experts_count_by_what_goes_through_them():
    layer = nn.Module()
    layer.mlp = nn.Module()
    layer.mlp.experts = nn.Module()
    layer.mlp.experts.weight = mx.zeros((8, 96, 64))
    layer.mlp.down = nn.QuantizedLinear(128, 64, bias=False)
    size = LayerSize.count(layer, SimpleNamespace(num_experts_per_tok=2, num_attention_heads=1))
    assert size.per_token == (2 * 96 + 64) + (2 * 64 + 128) + 2 * 128
    assert size.number_bytes == 4


def test_a_layer_that_runs_again_takes_more_than_it_keeps():
    size = LayerSize(per_token=100, per_score=2, number_bytes=2, heads=2, between=30)
    assert size.count_kept_bytes(TokenRun(10, 100)) == 2 * (1000 + 200)
    assert size.count_recomputed_bytes(TokenRun(10, 100)) == 2400 + 2 * 13 * 30 * 10, "at the MLP's turn"
    assert size.count_recomputed_bytes(TokenRun(10, 10_000)) == 2 * 21_000 + 2 * (1000 + 40_000), "at attention's"
