import json
import re
from pathlib import Path

import pytest

from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.paths import faults_of_sources
from prefd.daemon.specs.reading import read_specs
from prefd.daemon.specs.spec_error import SpecError
from support import fake_worker


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    return JobSpec.model_validate_json(fake_worker.spec_text(tmp_path))


def faults(spec: JobSpec, folder: Path) -> list[str]:
    return [str(fault).replace(str(folder), "F") for fault in faults_of_sources(spec)]


def test_good_sources_and_hub_ids_have_no_faults(spec: JobSpec) -> None:
    assert faults_of_sources(spec) == []
    hub = JobSpec.model_validate({"model": "org/name", "data": {"path": "org/pairs"}})
    assert faults_of_sources(hub) == []


def test_a_model_folder_without_weights(spec: JobSpec, tmp_path: Path) -> None:
    (tmp_path / "model" / "model.safetensors").unlink()
    assert faults(spec, tmp_path) == ["model: F/model has no weights (model*.safetensors)"]


def test_a_model_folder_with_pickles_only(spec: JobSpec, tmp_path: Path) -> None:
    weights = tmp_path / "model" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    assert faults(spec, tmp_path) == [
        "model: F/model has its weights as pickles only; prefd loads safetensors only: convert it first"
    ]


def test_a_model_folder_that_lacks_a_shard(spec: JobSpec, tmp_path: Path) -> None:
    index = tmp_path / "model" / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}')
    assert faults(spec, tmp_path) == ["model: F/model lacks model-2.safetensors (1 of 2 files that its index names)"]


def test_no_model_folder_and_no_config(spec: JobSpec, tmp_path: Path) -> None:
    (tmp_path / "model" / "config.json").unlink()
    assert faults(spec, tmp_path) == ["model: F/model has no config.json: is it a model folder?"]
    gone = spec.model_copy(update={"model": str(tmp_path / "gone")})
    assert faults(gone, tmp_path) == [
        "model: no such folder: F/gone (a model on the hub is written as organisation/name)"
    ]


def test_a_file_of_prompts_that_is_missing_or_none(spec: JobSpec, tmp_path: Path) -> None:
    changes = {"eval_samples": {"prompts": "./prompts.txt"}, "training": {}}
    sampled = JobSpec.model_validate(spec.model_dump(exclude_unset=True) | changes).resolved(tmp_path)
    assert faults(sampled, tmp_path) == ["eval_samples.prompts: no such file: F/prompts.txt"]
    (tmp_path / "prompts.txt").mkdir()
    assert faults(sampled, tmp_path) == [
        "eval_samples.prompts: F/prompts.txt is no file; name the file of prompts itself"
    ]


def test_a_dataset_path_that_is_missing_or_empty(spec: JobSpec, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("")
    assert faults(spec, tmp_path) == ["data.path: F/pairs.jsonl is empty"]
    (tmp_path / "pairs.jsonl").unlink()
    assert faults(spec, tmp_path) == ["data.path: no such file or folder: F/pairs.jsonl"]
    (tmp_path / "pairs.jsonl").mkdir()
    assert faults(spec, tmp_path) == ["data.path: F/pairs.jsonl is an empty folder"]


def test_adapter_reference_and_validation_are_looked_at_too(spec: JobSpec, tmp_path: Path) -> None:
    fields = spec.model_dump() | {"adapter": str(tmp_path), "reference": {"model": str(tmp_path / "ref")}}
    fields["data"]["validation"] = str(tmp_path / "held-out.jsonl")
    assert faults(JobSpec.model_validate(fields), tmp_path) == [
        "adapter: F has no adapter_config.json: it must be a folder with an adapter of mlx-lm or PEFT",
        "reference.model: no such folder: F/ref (a model on the hub is written as organisation/name)",
        "data.validation: no such file or folder: F/held-out.jsonl",
    ]


def test_pairs_that_are_trained_on_are_not_held_out(spec: JobSpec, tmp_path: Path) -> None:
    def held_out(data: dict[str, str]) -> list[str]:
        return faults(JobSpec.model_validate(spec.model_dump() | {"data": data}), tmp_path)

    path = str(tmp_path / "pairs.jsonl")
    assert held_out({"path": path, "validation": path}) == [
        "data.validation: it is data.path itself, whose pairs are trained on; give a fraction, or other pairs"
    ]
    assert held_out({"path": "org/pairs", "validation": "org/pairs"}) == []  # its validation split


def test_a_file_in_the_place_of_a_folder_is_told_from_nothing(spec: JobSpec, tmp_path: Path) -> None:
    weights = tmp_path / "model" / "model.safetensors"
    changed_spec = spec.model_copy(update={"model": str(weights), "adapter": str(weights)})
    assert faults(changed_spec, tmp_path) == [
        "model: F/model/model.safetensors is a file: name the folder that it is in",
        "adapter: F/model/model.safetensors is a file: name the folder that it is in",
    ]


def test_a_model_and_an_adapter_that_are_exchanged_are_told(spec: JobSpec, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    changed_spec = spec.model_dump() | {
        "model": str(adapter),
        "adapter": str(tmp_path / "model"),
        "reference": {"model": str(adapter), "adapter": str(tmp_path / "model")},
    }
    assert faults(JobSpec.model_validate(changed_spec), tmp_path) == [
        "model: F/adapter is an adapter: name it as adapter, and the model that it is on as model",
        "adapter: F/model is a model, not an adapter: name it as model",
        "reference.model: F/adapter is an adapter: name it as reference.adapter, and the model that it is on as reference.model",
        "reference.adapter: F/model is a model, not an adapter: name it as reference.model",
    ]


def test_weights_by_another_name_are_named(spec: JobSpec, tmp_path: Path) -> None:
    weights = tmp_path / "model" / "model.safetensors"
    for name in ("consolidated.safetensors", "model.Q4_K_M.gguf"):
        weights = weights.rename(tmp_path / "model" / name)
        assert faults(spec, tmp_path) == [
            f"model: F/model has no weights (model*.safetensors), only {name}, which mlx-lm does not load by that name"
        ]


def test_adapters_are_looked_at_as_the_worker_does(spec: JobSpec, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    changed_spec = spec.model_copy(update={"adapter": str(adapter)})

    def list_faults(config: str, weights: str | None = None) -> list[str]:
        (adapter / "adapter_config.json").write_text(config)
        if weights is not None:
            (adapter / weights).write_bytes(b"weights")
        return faults(changed_spec, tmp_path)

    (lacking,) = list_faults('{"lora_layers": 8}', "adapters.safetensors")
    assert lacking.startswith(
        "adapter: F/adapter has an adapter_config.json that lacks num_layers, and has lora_layers"
    )
    (lacking,) = list_faults('{"peft_type": "LORA", "r": 8, "lora_alpha": 16}')
    assert lacking.startswith("adapter: F/adapter has no adapter_model.safetensors, where PEFT writes")
    assert list_faults('{"peft_type": "LORA", "r": 8, "lora_alpha": 16}', "adapter_model.safetensors") == []
    (refused,) = list_faults('{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "modules_to_save": ["lm_head"]}')
    assert "is a PEFT adapter with modules_to_save a list: whole modules were trained with it" in refused
    (broken,) = list_faults("{")
    assert "has an adapter_config.json that cannot be read as JSON" in broken


@pytest.mark.parametrize("path", ["/" + "a" * 300, "folder/../" + "a" * 300, ["pairs.jsonl", "a" * 300]])
def test_a_path_that_the_system_refuses_is_told_with_its_setting_and_line(
    tmp_path: Path, path: str | list[str]
) -> None:
    document = json.loads(fake_worker.spec_text(tmp_path)) | {"data": {"path": path}}
    with pytest.raises(SpecError) as refused:
        read_specs(json.dumps(document, indent=1).encode(), "a.json", fake_worker.catalog(), tmp_path)
    place = "data.path" if isinstance(path, str) else r"data.path\[1\]"
    assert re.search(rf"line \d+: {place}: it cannot be used: File name too long: /", refused.value.lines[0])


def test_links_that_lead_in_a_circle_are_a_path_like_any_other(spec: JobSpec, tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    resolved = spec.model_copy(update={"model": "./circle/model"}).resolved(tmp_path)
    assert faults(resolved, tmp_path) == [
        "model: no such folder: F/circle/model (a model on the hub is written as organisation/name)"
    ]
