"""PEFT adapters: the written files mean what mlx-lm's do, by PEFT's own formula and, where it is installed, by PEFT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.adapters import list_adapted_modules
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.outputs.peft import check, write_peft
from support import tiny_model as tiny
from support.adapters import TOKENS, adapted, apart, by_pefts_formula, logits

QWEN2 = tiny.LLAMA | {"model_type": "qwen2", "max_position_embeddings": 512, "rope_theta": 10000.0}
KINDS: list[dict[str, Any]] = [
    {"fine_tune": "lora"},
    {"fine_tune": "dora", "num_layers": 1},
    {"lora": {"rank": 3, "scale": 1.7, "keys": ["self_attn.q_proj", "mlp.down_proj"]}},
]


@pytest.mark.parametrize("training", KINDS, ids=str)
def test_the_written_files_give_the_same_logits_by_pefts_formula(
    tiny_model: Path, tmp_path: Path, training: dict[str, Any]
) -> None:
    source, policy = adapted(tiny_model, tmp_path / "adapter", **training)
    assert source.adapter is not None
    write_peft(source, source.adapter, tmp_path / "peft")
    weights = mx.load(str(tiny_model / "model.safetensors"))
    assert isinstance(weights, dict)
    base = loading.load(ModelSource(str(tiny_model)))
    assert apart(logits(base), logits(policy)) > 1e-4
    base.load_weights(list(by_pefts_formula(tmp_path / "peft", weights).items()))
    assert apart(logits(base), logits(policy)) < 1e-5
    config = json.loads((tmp_path / "peft/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_model)
    assert set(config["target_modules"]) == {name for name, _ in list_adapted_modules(policy)}


@pytest.mark.filterwarnings("ignore")  # torch's and PEFT's own
@pytest.mark.parametrize("config", [tiny.LLAMA | {"tie_word_embeddings": False}, QWEN2], ids=["llama", "qwen2"])
@pytest.mark.parametrize("training", KINDS[:2], ids=str)
def test_peft_itself_gives_the_same_logits(tmp_path: Path, config: dict[str, Any], training: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    model = tiny.build(tmp_path / "model", config)
    source, policy = adapted(model, tmp_path / "adapter", **training)
    assert source.adapter is not None
    check(source, policy)
    write_peft(source, source.adapter, tmp_path / "peft")
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "peft").eval()
    with torch.no_grad():
        their_logits = theirs(torch.tensor(np.array(TOKENS).astype(np.int64))).logits.numpy()
    np.testing.assert_allclose(their_logits, np.array(logits(policy)), atol=1e-5)


@pytest.mark.parametrize(
    ("config", "training", "message"),
    [
        (tiny.QWEN3_MOE, {}, r"output\.peft: it is not known how .* model type 'qwen3_moe' .*; known: cohere, .* output\.fuse"),
        (tiny.LLAMA | {"rope_traditional": True}, {}, r"output\.peft: .* has rope_traditional, an order of the query and key"),
        (tiny.LLAMA, {"lora": {"keys": ["model.embed_tokens"]}}, r"PEFT has no adapter that equals mlx-lm's on model\.embed_tokens"),
    ],
)  # fmt: skip
def test_what_peft_cannot_express_is_refused(
    tmp_path: Path, config: dict[str, Any], training: dict[str, Any], message: str
) -> None:
    source, policy = adapted(tiny.build(tmp_path / "model", config), tmp_path / "adapter", **training)
    with pytest.raises(JobError, match=message):
        check(source, policy)


def test_a_model_in_mlxs_own_quantized_form_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    from prefd.daemon.worker.outputs.fuse import write_fused

    source, policy = adapted(tiny_model, tmp_path / "adapter", quantize={"bits": 4, "group_size": 32})
    check(source, policy)  # quantized at load: transformers has the model that it came from
    write_fused(source, tmp_path / "quantized", dequantize=False)
    with pytest.raises(
        JobError, match=r"is quantized in MLX's own format.* \(training\.quantize quantizes it at load\)"
    ):
        check(ModelSource(str(tmp_path / "quantized")), policy)
