"""What of a model is trained, adapters to begin with, and what a model cannot be trained as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import pytest
from mlx.utils import tree_flatten

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.fine_tune import make_trainable
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.outputs.fuse import write_fused
from support import tiny_model as tiny
from support.adapters import adapted, apart, logits
from support.jobs_on_disk import finished, job, make_job
from support.thinned import thin


@pytest.mark.parametrize("kind", ["lora", "dora", "full"])
def test_adapter_loads_in_mlx_lm_with_the_trained_numbers(
    home: Path, tiny_model: Path, pairs_file: Path, kind: str
) -> None:
    running_job = finished(job(home, tiny_model, pairs_file, training={"fine_tune": kind, "num_layers": 1}))
    config = json.loads((running_job.run.adapter / "adapter_config.json").read_text())
    assert (config["fine_tune_type"], config["num_layers"]) == (kind, 1)
    prompt = mx.array([[5, 6, 7]])
    before = mlx_lm.load(str(tiny_model))[0](prompt)
    after = mlx_lm.load(str(tiny_model), adapter_path=str(running_job.run.adapter))[0](prompt)
    assert float(mx.abs(after - before).max()) > 1e-4
    weights = mx.load(str(running_job.run.adapter / "adapters.safetensors"))
    assert isinstance(weights, dict)
    assert all(".layers.1." in name for name in weights)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"lora": {"rank": 2}}, r"training\.lora\.rank is 2 and adapter .* has 4; leave it out"),
        ({"num_layers": 1}, r"training\.num_layers is 1 and adapter .* has 2; leave it out"),
        ({"fine_tune": "dora"}, r"adapter .* is lora and training\.fine_tune is dora"),
    ],
)
def test_a_setting_that_is_not_the_adapters_own_is_refused(
    home: Path, tiny_model: Path, pairs_file: Path, tmp_path: Path, training: dict[str, Any], message: str
) -> None:
    adapted(tiny_model, tmp_path / "adapter")
    clash = make_job(
        home,
        model=str(tiny_model),
        adapter=str(tmp_path / "adapter"),
        data={"path": str(pairs_file)},
        training=training,
    )
    with pytest.raises(JobError, match=message):
        finished(clash)


@pytest.mark.parametrize(("kind", "bits"), [("lora", 4), ("lora", 6), ("lora", 8), ("dora", 4), ("dora", 8)])
def test_a_policy_quantized_at_load_trains_and_its_adapter_loads(
    tiny_model: Path, tmp_path: Path, kind: str, bits: int
) -> None:
    source, policy = adapted(
        tiny_model, tmp_path / "adapter", fine_tune=kind, quantize={"bits": bits, "group_size": 32}
    )
    assert apart(logits(loading.load(source)), logits(policy)) == 0


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"fine_tune": "dora"}, r"cannot be trained with dora: SwitchLinear doesn't support DoRA yet\. Name layers"),
        ({"lora": {"keys": ["mlp.switch_mlp"]}}, r"Can't convert layer of type SwitchGLU to LoRA"),
    ],
)
def test_experts_take_lora_and_what_they_do_not_take_is_refused(
    tmp_path: Path, training: dict[str, Any], message: str
) -> None:
    model = tiny.build(tmp_path / "moe", tiny.QWEN3_MOE)
    _, policy = adapted(model, tmp_path / "adapter")
    whole, _ = mlx_lm.load(str(model), adapter_path=str(tmp_path / "adapter"))
    assert apart(logits(whole), logits(policy)) == 0
    adapted(model, tmp_path / "attention", fine_tune="dora", lora={"rank": 2, "keys": ["self_attn.q_proj"]})
    with pytest.raises(JobError, match=message):
        adapted(model, tmp_path / "refused", **training)


def test_full_training_of_quantized_weights_and_dora_on_six_bits_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    for bits in (4, 6):
        source, _ = adapted(tiny_model, tmp_path / "adapter", quantize={"bits": bits, "group_size": 32})
        write_fused(source, tmp_path / f"{bits}", dequantize=False)
    with pytest.raises(
        JobError, match=r"is quantized \(model\..* and 14 more\), and quantized weights cannot be trained in full"
    ):
        adapted(tmp_path / "4", tmp_path / "x", fine_tune="full")
    with pytest.raises(JobError, match=r"has 6-bit weights \(model\..*\), which mlx-lm's DoRA cannot adapt"):
        adapted(tmp_path / "6", tmp_path / "x", fine_tune="dora")
    with pytest.raises(JobError, match=r"embed"):
        adapted(tmp_path / "4", tmp_path / "x", fine_tune="dora", lora={"keys": ["model.embed_tokens"]})


def test_only_what_was_asked_for_is_trainable(tiny_model: Path, home: Path, pairs_file: Path) -> None:
    running_job = job(home, tiny_model, pairs_file, training={"lora": {"keys": ["self_attn.q_proj"]}, "num_layers": 1})
    assert running_job.spec.training is not None
    model = loading.load(running_job.policy)
    make_trainable(model, running_job.policy, running_job.spec.training)
    names = [name for name, _ in tree_flatten(model.trainable_parameters())]
    assert names == ["model.layers.1.self_attn.q_proj.lora_a", "model.layers.1.self_attn.q_proj.lora_b"]


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"num_layers": 3}, r"training\.num_layers is 3; .* has 2 layers"),
        (
            {"lora": {"keys": ["nope"]}},
            r"training\.lora\.keys: no module 'nope' in the layers that are trained of .*tiny; it has mlp\.down_proj, .*self_attn\.q_proj",
        ),
        (
            {"lora": {"keys": ["self_attn.q_proj", "self_attn.qproj"]}},
            r"training\.lora\.keys: no module 'self_attn\.qproj' in .*; did you mean 'self_attn\.q_proj'\?",
        ),
    ],
)
def test_settings_the_model_cannot_have(
    home: Path, tiny_model: Path, pairs_file: Path, training: dict[str, Any], message: str
) -> None:
    with pytest.raises(JobError, match=message):
        finished(job(home, tiny_model, pairs_file, training=training))


@pytest.mark.parametrize("mode", thin(tiny.MODES, ("affine").__eq__))  # outputs/test_fuse.py has every mode
def test_a_base_of_every_mode_trains_and_ends_where_its_adapter_says(
    home: Path, tmp_path: Path, pairs_file: Path, mode: str
) -> None:
    base = tiny.quantized(tiny.build_llama(tmp_path / "plain"), tmp_path / "base", mode)
    for job_id, kind in enumerate(("lora", "dora"), start=1):
        more = {"data": {"validation": 0.0}, "training": {"fine_tune": kind, "iters": 2, "learning_rate": 0.01}}
        running_job = finished(
            job(home, base, pairs_file, job_id=job_id, output={"fuse": True, "dequantize": True}, **more)
        )
        fused, whole = (mlx_lm.load(str(p), adapter_path=a)[0] for p, a in (
            (running_job.run.fused, None), (base, str(running_job.run.adapter))
        ))  # fmt: skip
        assert apart(logits(fused), logits(whole)) < 1e-5


def test_what_a_quantized_base_cannot_be_trained_as_is_refused(home: Path, tmp_path: Path, pairs_file: Path) -> None:
    base = tiny.quantized(tiny.build_llama(tmp_path / "plain"), tmp_path / "base", "mxfp4")
    refused = job(home, base, pairs_file, job_id=3, training={"quantize": {"bits": 4}})
    with pytest.raises(JobError, match=r"is already quantized; remove training\.quantize"):
        finished(refused)
    dora = {"fine_tune": "dora", "lora": {"keys": ["model.embed_tokens"]}}
    with pytest.raises(JobError, match=r"has a quantized embedding .* which mlx-lm's DoRA cannot adapt"):
        finished(job(home, base, pairs_file, job_id=4, training=dora))
    full = {"fine_tune": "full", "lora": {"rank": 8}}
    with pytest.raises(JobError, match=r"is quantized .* cannot be trained in full"):
        finished(job(home, base, pairs_file, job_id=5, training=full))


@pytest.mark.parametrize(
    ("keys", "meant"),
    [
        (["q_proj", "v_proj"], ["self_attn.q_proj", "self_attn.v_proj"]),
        (["q_proj", "self_attn.q_proj", "embed_tokens"], ["self_attn.q_proj", "model.embed_tokens"]),
        (["model.layers.0.mlp.up_proj"], ["model.layers.0.mlp.up_proj"]),
    ],
)
def test_a_key_may_be_the_end_of_a_modules_name(
    home: Path, tiny_model: Path, pairs_file: Path, keys: list[str], meant: list[str]
) -> None:
    running_job = finished(job(home, tiny_model, pairs_file, training={"iters": 1, "lora": {"rank": 4, "keys": keys}}))
    config = json.loads((running_job.run.adapter / "adapter_config.json").read_text())
    assert config["lora_parameters"]["keys"] == meant
    model, _ = mlx_lm.load(str(tiny_model), adapter_path=str(running_job.run.adapter))
    names = [name for name, module in model.named_modules() if "lora_a" in module]
    assert all(any(name == key or name.endswith(f".{key}") for key in meant) for name in names)
    assert len(names) == sum(2 if not key.startswith("model.") else 1 for key in meant)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["all-linear"], "all-linear is PEFT's word for what is the default here: leave training.lora.keys out"),
        (["qkv_proj"], r"no module 'qkv_proj' in .*; it has mlp\.down_proj, "),  # not q_proj
        (["Self_Attn.Q_Proj"], r"did you mean 'self_attn\.q_proj'\?"),
        (["qproj"], r"no module 'qproj' in .*; did you mean 'self_attn\.q_proj'\?"),
        (["Up-Proj"], r"did you mean 'mlp\.up_proj'\?"),
    ],
)
def test_a_key_that_names_nothing_gets_no_suggestion_of_another_meaning(
    home: Path, tiny_model: Path, pairs_file: Path, keys: list[str], message: str
) -> None:
    with pytest.raises(JobError, match=message):
        finished(job(home, tiny_model, pairs_file, training={"lora": {"keys": keys}}))


def test_a_misspelt_key_that_may_be_several_modules_gets_all_of_them(
    home: Path, tmp_path: Path, pairs_file: Path
) -> None:
    moe = tiny.build(tmp_path / "moe", tiny.QWEN3_MOE | {"mlp_only_layers": [0]})
    running_job = job(home, moe, pairs_file, training={"lora": {"keys": ["upproj"]}})
    with pytest.raises(JobError, match=r"did you mean 'mlp\.switch_mlp\.up_proj' or 'mlp\.up_proj'\?"):
        finished(running_job)


def test_a_key_that_several_modules_end_with_is_refused_with_their_names(
    home: Path, tmp_path: Path, pairs_file: Path
) -> None:
    moe = tiny.build(tmp_path / "moe", tiny.QWEN3_MOE | {"mlp_only_layers": [0]})
    running_job = job(home, moe, pairs_file, training={"lora": {"keys": ["up_proj"]}})
    with pytest.raises(JobError, match=r"and 2 that end so: write mlp\.switch_mlp\.up_proj or mlp\.up_proj"):
        finished(running_job)


def test_qat_cannot_go_on_with_an_adapter_that_drops_inputs(
    home: Path, tiny_model: Path, pairs_file: Path, tmp_path: Path
) -> None:
    adapted(tiny_model, tmp_path / "adapter", lora={"rank": 4, "dropout": 0.1})
    running_job = job(home, tiny_model, pairs_file, adapter=str(tmp_path / "adapter"), training={"qat": {}, "lora": {}})
    with pytest.raises(JobError, match=r"training\.qat rounds .* adapter .* has a dropout of 0\.1; set it to 0 in its"):
        finished(running_job)


@pytest.mark.parametrize(("key", "value"), [("chat_template_type", "brand_new"), ("tool_parser_type", "brand_new")])
def test_code_that_mlx_lm_has_not_is_named(tmp_path: Path, key: str, value: str) -> None:
    folder = tiny.build_chat(tmp_path, tiny.CHATML, **{key: value})
    with pytest.raises(
        JobError, match=rf'tokenizer_config.json has {key} "brand_new", which mlx-lm .* has not; take a'
    ):
        loading.tokenizer(ModelSource(str(folder)))


def test_a_template_module_without_its_function_is_named(tmp_path: Path) -> None:
    folder = tiny.build_chat(tmp_path, None, chat_template_type="muse_spark")  # for its response format alone
    with pytest.raises(JobError, match='chat_template_type "muse_spark", which mlx-lm'):
        loading.tokenizer(ModelSource(str(folder)))
