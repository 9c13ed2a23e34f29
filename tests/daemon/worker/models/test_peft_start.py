"""A PEFT adapter as a job's start: the same logits as PEFT's own formula, trained on, frozen, resumed and written again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from mlx import nn
from safetensors.numpy import load_file, save_file

from prefd.daemon.specs.training_spec import QuantizeSpec
from prefd.daemon.worker.errors import JobError, Stopped
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.identity import identify
from prefd.daemon.worker.models.peft_start import locate_in_layers
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.outputs.peft import write_peft
from support import tiny_model as tiny
from support.adapters import adapted, apart, by_pefts_formula, logits
from support.jobs_on_disk import StopAtLook, adapter_digest, finished, job, run_precompute, run_training
from support.thinned import thin

PLAIN = tiny.LLAMA | {"tie_word_embeddings": False}
KEYS = ["self_attn.q_proj", "mlp.down_proj"]


def peft_adapter(model: Path, folder: Path, **training: Any) -> tuple[ModelSource, nn.Module]:
    """A PEFT adapter at `folder` as prefd writes one; the source that starts from it, and the policy it was."""
    source, policy = adapted(model, folder.with_name("mlx-" + folder.name), **training)
    assert source.adapter is not None
    write_peft(source, source.adapter, folder)
    return replace(source, adapter=folder), policy


def change(folder: Path, **settings: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


KINDS: list[dict[str, Any]] = [
    {},
    {"fine_tune": "dora"},
    {"num_layers": 1, "lora": {"rank": 3, "scale": 1.7, "keys": KEYS}},
    {"quantize": {"bits": 4, "group_size": 32}},
]


@pytest.mark.parametrize("training", KINDS, ids=str)
def test_what_was_written_for_peft_comes_back_with_the_same_logits(
    tiny_model: Path, tmp_path: Path, training: dict[str, Any]
) -> None:
    source, policy = peft_adapter(tiny_model, tmp_path / "peft", **training)
    assert apart(logits(loading.load(source)), logits(policy)) < 1e-6
    assert apart(logits(loading.load(replace(source, adapter=None))), logits(policy)) > 1e-4


@pytest.mark.parametrize("rslora", [False, True])
def test_the_scale_is_alpha_over_rank_or_over_its_root(tiny_model: Path, tmp_path: Path, rslora: bool) -> None:
    source, _ = peft_adapter(tiny_model, tmp_path / "peft")  # of rank 4
    change(tmp_path / "peft", lora_alpha=6, use_rslora=rslora)
    model = loading.load(source)
    assert model.layers[0].self_attn.q_proj.scale == (3.0 if rslora else 1.5)
    change(tmp_path / "peft", lora_alpha=12 if rslora else 6, use_rslora=False)
    weights = mx.load(str(tiny_model / "model.safetensors"))
    assert isinstance(weights, dict)
    base = loading.load(ModelSource(str(tiny_model)))
    base.load_weights(list(by_pefts_formula(tmp_path / "peft", weights).items()))
    assert apart(logits(base), logits(model)) < 1e-5


def test_modules_of_some_layers_only_are_named_by_their_full_paths(tiny_model: Path, tmp_path: Path) -> None:
    source, _ = peft_adapter(tiny_model, tmp_path / "peft", lora={"rank": 4, "keys": ["self_attn.q_proj"]})
    path = tmp_path / "peft/adapter_model.safetensors"
    save_file({name: value for name, value in load_file(path).items() if ".layers.0." in name}, path)
    model = loading.load(source)
    adapted_ones = [name for name, module in model.named_modules() if "lora_a" in module]
    assert adapted_ones == ["model.layers.0.self_attn.q_proj"]


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ({"model.layers.0.a.q", "model.layers.1.a.q"}, (2, ["a.q"])),
        ({"model.layers.1.a.v", "model.layers.1.a.q"}, (1, ["a.q", "a.v"])),
        ({"model.layers.0.a.q"}, (2, ["model.layers.0.a.q"])),
        ({"model.layers.0.a.q", "model.layers.1.a.v"}, (2, ["model.layers.0.a.q", "model.layers.1.a.v"])),
        ({"lm_head", "model.layers.1.a.q"}, (2, ["lm_head", "model.layers.1.a.q"])),
    ],
)
def test_an_adapters_place_in_mlx_lms_words(modules: set[str], expected: tuple[int, list[str]]) -> None:
    assert locate_in_layers(modules, 2) == expected


@pytest.mark.parametrize("kind", thin(["lora", "dora"], ("dora").__eq__))
def test_a_job_starts_from_it_is_resumed_and_ends_as_the_one_from_mlx_lms_own(
    home: Path, tiny_model: Path, tmp_path: Path, pairs_file: Path, kind: str
) -> None:
    source, _ = peft_adapter(tiny_model, tmp_path / "peft", fine_tune=kind)
    more: dict[str, Any] = {
        "training": {"fine_tune": kind, "iters": 4, "lora": {}},
        "output": {"fuse": True, "peft": True},
    }
    own = finished(job(home, tiny_model, pairs_file, adapter=str(tmp_path / "mlx-peft"), **more))
    running_job = job(home, tiny_model, pairs_file, job_id=2, adapter=str(source.adapter), **more)
    run_precompute(running_job)
    assert running_job.starts_as_reference  # the frozen copy has the adapter, and the start check passes
    with pytest.raises(Stopped):
        run_training(running_job, StopAtLook(2))
    run_training(running_job)
    assert adapter_digest(running_job) == adapter_digest(own)
    config = json.loads((running_job.run.adapter / "adapter_config.json").read_text())
    assert (config["fine_tune_type"], config["num_layers"]) == (kind, 2)
    lora = config["lora_parameters"]
    assert (lora["rank"], lora["scale"], lora["dropout"]) == (4, 2.5, 0.0)
    assert "self_attn.q_proj" in lora["keys"]
    whole, _ = mlx_lm.load(str(tiny_model), adapter_path=str(running_job.run.adapter))
    fused, _ = mlx_lm.load(str(running_job.run.fused))
    assert apart(logits(fused), logits(whole)) < 1e-6
    again = loading.load(ModelSource(str(tiny_model), adapter=running_job.run.peft))
    assert apart(logits(again), logits(whole)) < 1e-6


def test_another_adapter_or_another_scale_is_another_reference(tiny_model: Path, tmp_path: Path) -> None:
    source, _ = peft_adapter(tiny_model, tmp_path / "peft")

    def name() -> str:
        return identify(source, "float32", "cpu").name

    first = name()
    change(tmp_path / "peft", inference_mode=False, peft_version="0.18")
    assert name() == first
    change(tmp_path / "peft", lora_alpha=11)
    scaled = name()
    path = tmp_path / "peft/adapter_model.safetensors"
    save_file({key: value * 2 for key, value in load_file(path).items()}, path)
    assert len({first, scaled, name(), identify(replace(source, adapter=None), "float32", "cpu").name}) == 4


def test_its_settings_may_be_named_and_no_others(
    home: Path, tiny_model: Path, tmp_path: Path, pairs_file: Path
) -> None:
    source, _ = peft_adapter(tiny_model, tmp_path / "peft", lora={"rank": 4, "scale": 2.5, "keys": KEYS})
    lora: dict[str, Any] = {"rank": 4, "scale": 2.5, "keys": ["down_proj", "q_proj"]}
    finished(
        job(
            home,
            tiny_model,
            pairs_file,
            adapter=str(source.adapter),
            training={"lora": lora, "iters": 1, "num_layers": 2},
        )
    )
    other = job(
        home, tiny_model, pairs_file, job_id=2, adapter=str(source.adapter), training={"lora": lora | {"rank": 8}}
    )
    with pytest.raises(JobError, match=r"training\.lora\.rank is 8 and adapter .*/peft has 4; leave it out"):
        finished(other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "IA3"}, 'is a PEFT adapter of type "IA3", and prefd goes on with LORA'),
        ({"bias": "lora_only"}, 'with bias "lora_only": biases were trained with it; merge it into its model'),
        ({"modules_to_save": ["lm_head"]}, "with modules_to_save a list: whole modules were trained with it"),
        ({"rank_pattern": {"q_proj": 2}}, "with rank_pattern a mapping: its modules are of several ranks"),
        ({"alpha_pattern": {"q_proj": 2}}, "with alpha_pattern a mapping: its modules are of several scales"),
        ({"task_type": "SEQ_CLS"}, 'with task_type "SEQ_CLS": it was trained for another task than to write text'),
        ({"layers_to_transform": [0]}, r"has layers_to_transform \[0\] in .*, by which PEFT would not put it on model\.layers\.1"),
        ({"fan_in_fan_out": True}, "with fan_in_fan_out true"),
        ({"trainable_token_indices": [1]}, "with trainable_token_indices a list"),
        ({"lora_bias": True}, "with lora_bias true"),
        ({"init_lora_weights": "pissa_niter_4"}, 'init_lora_weights "pissa_niter_4", which may have changed its base'),
        ({"use_something_new": True}, "with use_something_new true: which is not known to mean the same"),
        ({"r": "8"}, 'with r "8", lora_alpha 10 and lora_dropout 0.0; each must be a number'),
        ({"r": 8}, r"has the shape \(128, 4\), and its config and the model want \(128, 8\)"),
        ({"use_dora": True}, "lacks the tensor for .*; save it again"),
    ],
)  # fmt: skip
def test_what_mlx_lm_cannot_say_is_refused(
    tiny_model: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    source, _ = peft_adapter(tiny_model, tmp_path / "peft")
    change(tmp_path / "peft", **settings)
    with pytest.raises(JobError, match=message):
        loading.load(source)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_the_adapters_name_in_pefts_memory_may_be_in_its_tensors_names(
    tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    source, policy = peft_adapter(tiny_model, tmp_path / "peft", fine_tune=kind)
    path = tmp_path / "peft/adapter_model.safetensors"
    kinds = ("lora_A", "lora_B", "lora_magnitude_vector")
    saved = load_file(path)

    def with_default(name: str) -> str:
        for each in kinds:
            name = name.replace(f".{each}", f".{each}.default")
        return name

    save_file({with_default(name): value for name, value in saved.items()}, path)
    assert all(".default" in name for name in load_file(path))
    assert apart(logits(loading.load(source)), logits(policy)) < 1e-6
    some = next(name for name in saved if "lora_B" in name)
    save_file(saved | {with_default(some): saved[some]}, path)
    with pytest.raises(JobError, match=r"has lora_B of model\.layers\..* twice, under two names"):
        loading.load(source)


def test_tensors_and_models_that_do_not_fit_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    source, _ = peft_adapter(tiny_model, tmp_path / "peft")
    path = tmp_path / "peft/adapter_model.safetensors"
    right = load_file(path)
    some = next(name for name in right if ".layers.0." in name)
    for name, message in (
        (
            "base_model.model.lm_head.weight",
            r"base_model\.model\.lm_head\.weight in .* is no part of an adapter on linear",
        ),
        (some.replace("layers.0", "layers.7"), r"is on model\.layers\.7\..*, which is not there in"),
        ("base_model.model.model.embed_tokens.lora_A.weight", r"model\.embed_tokens, which is no linear layer in"),
    ):
        save_file(right | {name: right[some]}, path)
        with pytest.raises(JobError, match=message):
            loading.load(source)
    save_file(right, path)
    for config, message in (
        (tiny.QWEN3_MOE, r"adapter .*: it is not known how transformers names the modules of model type 'qwen3_moe'"),
        (PLAIN | {"rope_traditional": True}, r"adapter .* has rope_traditional"),
    ):
        other = tiny.build(tmp_path / str(config["model_type"]), config)
        with pytest.raises(JobError, match=message):
            loading.load(replace(source, model=str(other)))


def test_a_pickle_or_a_pointer_in_the_place_of_the_weights_is_named(tiny_model: Path, tmp_path: Path) -> None:
    source, _ = peft_adapter(tiny_model, tmp_path / "peft")
    path = tmp_path / "peft/adapter_model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(
        JobError, match=r"a git-lfs pointer in the place of adapter_model\.safetensors: run `git lfs pull`"
    ):
        loading.load(source)
    path.rename(tmp_path / "peft/adapter_model.bin")
    with pytest.raises(JobError, match=r"adapter_model\.bin, a pickle, which can run code: load it with PEFT"):
        loading.load(source)


def test_dora_on_weights_that_mlx_lms_dora_cannot_take_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    source, _ = peft_adapter(tiny_model, tmp_path / "peft", fine_tune="dora", num_layers=1)
    source = replace(source, quantize=QuantizeSpec(bits=6, group_size=32))
    with pytest.raises(
        JobError, match=r"is dora, and .* has 6-bit weights \(model\.layers\.1\..*\), which mlx-lm's DoRA"
    ):
        loading.load(source)


def test_a_reference_may_have_one_too(home: Path, tiny_model: Path, tmp_path: Path, pairs_file: Path) -> None:
    source, _ = peft_adapter(tiny_model, tmp_path / "peft")
    scored = {}
    for job_id, adapter in enumerate((str(source.adapter), str(tmp_path / "mlx-peft")), start=1):
        reference = {"model": str(tiny_model), "adapter": adapter}
        running_job = job(home, tiny_model, pairs_file, job_id=job_id, reference=reference)
        run_precompute(running_job)
        assert not running_job.starts_as_reference
        sides = [side for each in running_job.examples for side in (each.chosen, each.rejected)]
        scored[job_id] = np.concatenate(running_job.store.get([running_job.key(side) for side in sides]))
    np.testing.assert_allclose(scored[1], scored[2], atol=1e-5)
