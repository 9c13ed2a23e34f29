"""mlx-lm's architectures at test size: one configuration for all, and what each wants besides."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_map

SHARED: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "rope_theta": 10000.0,
    "rope_traditional": False,
    "rms_norm_eps": 1e-5,
    "layer_norm_eps": 1e-5,
    "layer_norm_epsilon": 1e-5,
    "norm_eps": 1e-5,
    "norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "use_bias": False,
    "use_qkv_bias": False,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 24,
    "n_shared_experts": 1,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "routed_scaling_factor": 1.0,
    "sliding_window": 4,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 512,
    "n_ctx": 512,
    "logits_scaling": 2.0,
    "attention_multiplier": 0.3,
    "embedding_multiplier": 2.0,
    "residual_multiplier": 0.5,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
FOUR_LAYERS = {"num_hidden_layers": 4}
"""For architectures whose layers repeat by four; of all others two show what there is, one behind another."""
MAMBA = {"state_size": 16, "conv_kernel": 4, "use_conv_bias": True, "time_step_rank": 8}
OWN: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama untied": {"tie_word_embeddings": False},
    "llama sliding": {"layer_types": ["sliding_attention", "full_attention"] * 2, "num_hidden_layers": 4},
    "qwen2": {},
    "qwen3": {},
    "qwen2_moe": {},
    "qwen3_moe": {},
    "qwen3_next": {
        "full_attention_interval": 2,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_conv_kernel_dim": 4,
        "partial_rotary_factor": 0.5,
    },
    "mixtral": {},
    "olmoe": {},
    "gemma": {},
    "gemma2": {"query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 5.0},
    "gemma3_text": {"num_hidden_layers": 6, "query_pre_attn_scalar": 8},
    "gpt2": {},
    "gpt_neox": {"rotary_emb_base": 10000, "rotary_pct": 0.5},
    "gpt_oss": {},
    "cohere": {},
    "cohere2": FOUR_LAYERS,
    "phi3": {},
    "starcoder2": {},
    "stablelm": {"partial_rotary_factor": 0.5},
    "granite": {},
    "granitemoe": {},
    "granitemoehybrid": {
        "layer_types": ["mamba", "attention"],
        "mamba_n_heads": 8,
        "mamba_d_head": 8,
        "mamba_d_state": 16,
        "mamba_d_conv": 4,
        "mamba_n_groups": 1,
        "mamba_proj_bias": False,
        "mamba_conv_bias": True,
        "shared_intermediate_size": 24,
    },
    "deepseek_v3": {},
    "helium": {},
    "mamba": MAMBA,
    "mamba2": MAMBA | {"num_heads": 4, "head_dim": 16, "n_groups": 1, "time_step_limit": (0.0, 100.0)},
    "jamba": {
        "attn_layer_offset": 1,
        "attn_layer_period": 2,
        "expert_layer_offset": 1,
        "expert_layer_period": 2,
        "mamba_d_conv": 4,
        "mamba_d_state": 16,
        "mamba_expand": 2,
    },
    "falcon_h1": {},
    "nemotron_h": FOUR_LAYERS
    | {
        "hybrid_override_pattern": ["M", "*", "-", "M"],
        "mamba_num_heads": 4,
        "mamba_head_dim": 8,
        "mamba_proj_bias": False,
        "ssm_state_size": 16,
        "conv_kernel": 4,
        "n_groups": 1,
        "use_conv_bias": True,
    },
    "lfm2": {
        "layer_types": ["conv", "full_attention"],
        "conv_bias": False,
        "conv_L_cache": 3,
        "block_dim": 32,
        "block_ff_dim": 48,
        "block_multiple_of": 8,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": False,
        "full_attn_idxs": [1],
    },
    "rwkv7": {"a_low_rank_dim": 8, "v_low_rank_dim": 8, "gate_low_rank_dim": 8, "decay_low_rank_dim": 8},
    "minicpm": {"dim_model_base": 16, "scale_depth": 1.4, "scale_emb": 2.0},
    "olmo2": {},
    "smollm3": FOUR_LAYERS,
    "exaone4": {"num_hidden_layers": 3, "sliding_window_pattern": "LLG", "rope_scaling": None},
    "apertus": {"post_norm": False, "qk_norm": True},
    "ernie4_5": {},
    "lille-130m": {"n_embd": 96, "block_size": 512, "n_kv_heads": 2, "layer_norm_eps": 1e-5},
}


def build(name: str, seed: int = 0) -> nn.Module:
    """The architecture `name` with random weights, every one of them away from its initial value."""
    module = importlib.import_module(f"mlx_lm.models.{name.partition(' ')[0]}")
    field_names = {field.name for field in dataclasses.fields(module.ModelArgs)}
    config = {key: value for key, value in SHARED.items() if key in field_names} | OWN[name]
    mx.random.seed(seed)
    model: nn.Module = module.Model(module.ModelArgs(**{"model_type": name.partition(" ")[0]} | config))
    model.update(tree_map(lambda value: value + 0.1 * mx.random.normal(value.shape), model.parameters()))
    mx.eval(model.parameters())
    return model
