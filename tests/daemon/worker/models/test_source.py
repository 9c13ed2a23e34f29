"""Where models come from: what the worker refuses, and what makes a reference another one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from prefd.cache.fingerprint import find_differences
from prefd.daemon.specs.training_spec import QuantizeSpec
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models import identity, loading
from prefd.daemon.worker.models import source as sources
from prefd.daemon.worker.models.identity import identify
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.outputs.fuse import list_other_files
from support import drives, tiny_model
from support.adapters import adapted


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model.build_llama(tmp_path / "model")


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def save_as_bfloat16(source: Path, target: Path) -> None:
    weights = mx.load(str(source / "model.safetensors"))
    assert isinstance(weights, dict)
    halves = {name: value.astype(mx.bfloat16) for name, value in weights.items()}
    mx.save_safetensors(str(target / "model.safetensors"), halves)


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(JobError, match=r"needs model\*\.safetensors, found none; convert it"):
        loading.load(ModelSource(str(folder)))


def test_pickles_are_refused_and_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(JobError, match=r"found only pytorch_model\.bin, a pickle, which can run code"):
        loading.load(ModelSource(str(folder)))


def test_no_code_of_a_model_folder_is_run(folder: Path) -> None:
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    edit_json(folder / "config.json", model_file="evil.py", auto_map={"AutoModel": "evil.Model"})
    with pytest.raises(JobError, match=r"evil\.py"):
        loading.load(ModelSource(str(folder)))
    with pytest.raises(JobError, match=r"asks to run evil\.py; prefd runs no model code"):
        identify(ModelSource(str(folder)), "float32", "cpu")
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "not_a_model"}, "not_a_model not supported"),
        ({"num_hidden_layers": 5}, "cannot be loaded"),
        ({"hidden_size": 32}, "cannot be loaded"),
    ],
)
def test_a_config_that_does_not_fit_is_told(folder: Path, changes: dict[str, object], message: str) -> None:
    edit_json(folder / "config.json", **changes)
    with pytest.raises(JobError, match=message):
        loading.load(ModelSource(str(folder)))


def test_config_that_is_not_json_is_named(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(JobError, match=r"config\.json cannot be read as JSON"):
        identify(ModelSource(str(folder)), "float32", "cpu")


def test_a_name_that_is_neither_folder_nor_hub_id_is_told() -> None:
    with pytest.raises(JobError, match="there is no such folder, and it is not a hub id"):
        loading.load(ModelSource("/nowhere/at/all"))


def test_a_hub_that_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(JobError, match="no-such-org/no-such-model: it is no local folder and could not be downloaded"):
        loading.load(ModelSource("no-such-org/no-such-model"))


def test_no_weights_are_downloaded_for_a_tokenizer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def download(model: str, allow_patterns: list[str]) -> str:
        calls.append(allow_patterns)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    source = ModelSource("org/model")
    assert loading.tokenizer(source).eos_token == "<|im_end|>"
    (patterns,) = calls
    assert "tokenizer.model" in patterns
    assert "*.safetensors" not in patterns
    assert source.folder == folder
    assert "*.safetensors" in calls[1]


def test_an_adapter_folder_without_its_files_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"has no adapter_config\.json: it must be a folder with an adapter of"):
        loading.load(ModelSource(str(folder), adapter=tmp_path))


def test_what_changes_a_number_changes_the_identity_and_is_named(folder: Path, tmp_path: Path) -> None:
    base = identify(ModelSource(str(folder)), "float32", "cpu")

    def changed_by(source: ModelSource, compute_dtype: str = "float32", device: str = "cpu") -> list[str]:
        return find_differences(base.identity, identify(source, compute_dtype, device).identity)

    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    (copy / "README.md").write_text("words")
    edit_json(copy / "config.json", _name_or_path="x", transformers_version="9")
    assert changed_by(ModelSource(str(copy))) == []
    assert changed_by(ModelSource(str(folder)), device="gpu") == []
    assert changed_by(ModelSource(str(folder)), "bfloat16") == ["compute_dtype"]
    assert changed_by(ModelSource(str(folder), quantize=QuantizeSpec(bits=4))) == ["quantization"]
    assert changed_by(ModelSource(str(tiny_model.build_llama(tmp_path / "other", seed=1)))) == ["weights"]
    edit_json(copy / "config.json", rope_theta=5.0)
    assert changed_by(ModelSource(str(copy))) == ["config"]
    edit_json(copy / "tokenizer_config.json", chat_template="{{ messages }}")
    assert changed_by(ModelSource(str(copy))) == ["chat_template", "config"]
    half = tmp_path / "half"
    shutil.copytree(folder, half)
    save_as_bfloat16(folder, half)
    assert changed_by(ModelSource(str(half))) == ["weight_dtype", "weights"]


def test_another_way_of_scoring_is_another_reference(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = identify(ModelSource(str(folder)), "float32", "cpu")
    monkeypatch.setattr(identity, "SCORING", identity.SCORING + 1)
    after = identify(ModelSource(str(folder)), "float32", "cpu")
    assert find_differences(before.identity, after.identity) == ["scoring"]


def test_half_precision_weights_compute_in_float32_on_a_cpu(folder: Path) -> None:
    save_as_bfloat16(folder, folder)
    source = ModelSource(str(folder))
    expected = "float32" if loading.device() == "cpu" else "bfloat16"
    assert loading.compute_dtype(source) == expected
    assert loading.load(source).model.norm.weight.dtype == getattr(mx, expected)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_an_adapters_own_values_stay_float32_where_the_model_computes_in_half_precision(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    save_as_bfloat16(folder, folder)
    source, policy = adapted(folder, tmp_path / "adapter", fine_tune=kind)
    expected = dict(tree_flatten(policy.trainable_parameters()))
    monkeypatch.setattr(loading, "device", lambda: "gpu")
    model = loading.load(source)
    values = dict(tree_flatten(model.parameters()))
    assert {values.pop(name).dtype for name in expected} == {mx.float32}
    assert {value.dtype for value in values.values()} == {mx.bfloat16}
    again = dict(tree_flatten(model.parameters()))
    assert all(mx.array_equal(again[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, r"that lacks num_layers, how many layers \(the last ones\) the adapter is on, a whole number; -1 is all$"),
        ({"num_layers": None}, "that has num_layers null: write how many layers"),
        ({"num_layers": "all"}, 'that has num_layers "all": write how many layers'),
        ({"lora_layers": 8}, "lacks num_layers, and has lora_layers, .*: write num_layers: 8 in its place"),
        ({"num_layers": 2}, "lacks lora_parameters: rank, scale and dropout"),
        ({"num_layers": 2, "lora_parameters": {}}, "lora_parameters lack rank and scale and dropout"),
        (
            {"num_layers": 2, "lora_parameters": {"rank": 8, "alpha": 16, "dropout": 0.0}},
            r"lora_parameters lack scale; they have alpha, .*: write scale = 2, if",
        ),
        ({"fine_tune_type": "ia3"}, 'fine_tune_type "ia3" in adapter_config.json'),
    ],
)
def test_an_adapter_whose_config_lacks_something_is_named(
    folder: Path, tmp_path: Path, config: dict[str, object], message: str
) -> None:
    source, _ = adapted(folder, tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(JobError, match=f"adapter .*/adapter has .*{message}"):
        loading.load(source)


@pytest.mark.parametrize("mode", tiny_model.MODES)
@pytest.mark.parametrize(("dtype", "name"), [(mx.float32, "F32"), (mx.bfloat16, "BF16"), (mx.float16, "F16")])
def test_the_stored_type_of_a_base_of_every_mode_is_that_of_its_floats(
    tmp_path: Path, mode: str, dtype: mx.Dtype, name: str
) -> None:
    plain = tiny_model.build_llama(tmp_path / "plain")
    weights = mx.load(str(plain / "model.safetensors"))
    assert isinstance(weights, dict)
    mx.save_safetensors(str(plain / "model.safetensors"), {key: value.astype(dtype) for key, value in weights.items()})
    source = ModelSource(str(tiny_model.quantized(plain, tmp_path / "base", mode)))
    assert sources.stored_dtype(source) == name
    assert loading.compute_dtype(source) == "float32"  # on a CPU


def test_files_that_macos_keeps_beside_a_models_own_are_no_part_of_it(folder: Path, tmp_path: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    before = identify(ModelSource(str(folder)), "float32", "cpu")
    drives.sprinkle(folder)
    after = identify(ModelSource(str(folder)), "float32", "cpu")
    assert find_differences(before.identity, after.identity) == []
    assert ModelSource(str(folder)).weight_files == [folder / "model.safetensors"]
    assert not [path.name for path in list_other_files(folder) if path.name.startswith(".")], "fuse would copy them"
