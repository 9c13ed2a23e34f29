from pathlib import Path

import fakes
import pytest

from prefd.daemon.sources import faults_of_sources
from prefd.daemon.spec import JobSpec


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    return JobSpec.model_validate_json(fakes.spec_text(tmp_path))


def faults(spec: JobSpec, folder: Path) -> list[str]:
    return [fault.replace(str(folder), "F") for fault in faults_of_sources(spec)]


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
