"""A model's files, looked at before anything is loaded: pointers, files cut short, formats that mlx-lm cannot load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.model_files import faults_of_files
from prefd.daemon.specs.paths import faults_of_sources
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.source import ModelSource
from support import drives, fake_worker, tiny_model

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model.build_llama(tmp_path / "model")


def configure(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def put(folder: Path, **tensors: mx.array) -> None:
    arrays = mx.load(str(folder / "model.safetensors"))
    assert isinstance(arrays, dict)
    mx.save_safetensors(str(folder / "model.safetensors"), arrays | tensors)


def fault(folder: Path, at_a_claim: bool = True) -> str:
    """As validate, where it looks `at_a_claim`, and the worker tell it."""
    (message,) = faults_of_files(folder)
    of_spec = faults_of_sources(JobSpec.model_validate({"model": str(folder), "data": {"path": "org/pairs"}}))
    assert list(map(str, of_spec)) == ([f"model: {folder} {message}"] if at_a_claim else [])
    with pytest.raises(JobError) as raised:
        loading.load(ModelSource(str(folder)))
    assert str(raised.value) == f"model {folder} {message}"
    return message


def test_a_whole_folder_has_no_fault(folder: Path) -> None:
    assert list(faults_of_files(folder)) == []


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_git_lfs_pointer_is_named_with_what_fetches_the_file(folder: Path, name: str) -> None:
    (folder / name).write_text(POINTER)
    assert fault(folder) == f"has a git-lfs pointer in the place of {name}: run `git lfs pull` there"


def test_several_pointers_are_counted(folder: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).write_text(POINTER)
    assert fault(folder).startswith("has a git-lfs pointer in the place of model.safetensors and of 1 more files: run")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>not found</html>", "is no safetensors file (it begins with b'<!DOCTYP')"),
        (b"", "is no safetensors file (it begins with b'')"),
        (b"\x04\x00\x00\x00\x00\x00\x00\x00{{{{", "is no safetensors file (its header cannot be read)"),
    ],
)
def test_what_is_no_safetensors_file_is_named(folder: Path, content: bytes, message: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert fault(folder, at_a_claim=False) == f"has a model.safetensors that {message}: copy or download it again"


def test_a_file_that_is_cut_short_is_named_with_its_sizes(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    message = f"is cut short ({len(content) - 100:,} of {len(content):,} bytes)"
    assert fault(folder, at_a_claim=False) == f"has a model.safetensors that {message}: copy or download it again"


@pytest.mark.parametrize("method", ["bitsandbytes", "hqq", "torchao"])
def test_a_format_that_mlx_lm_does_not_know_is_refused(folder: Path, method: str) -> None:
    message = f"is quantized with {method}, as its config.json says, a format that mlx-lm cannot load"
    configure(folder, quantization_config={"quant_method": method})
    assert fault(folder) == f"{message}, though its weights are plain: take quantization_config out of config.json"
    put(folder, **{"model.layers.0.mlp.up_proj.weight": mx.zeros((4096, 1), mx.uint8)})
    assert fault(folder) == (
        f"{message}: name the model that it was made from (training.quantize quantizes one at load), or one in MLX's own format "
        "(mlx_lm.convert -q)"
    )


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_gptq_and_awq_are_told_what_mlx_lm_would_trip_over(folder: Path, method: str) -> None:
    message = f"is quantized with {method}, as its config.json says, a format that mlx-lm cannot load"
    configure(folder, quantization_config={"quant_method": method, "bits": 4})
    assert fault(folder) == f"{message}, though its weights are plain: take quantization_config out of config.json"
    put(folder, **{"model.layers.0.mlp.up_proj.qweight": mx.zeros((8, 128), mx.int32)})
    with pytest.raises(
        JobError, match=rf"cannot be loaded: KeyError: .*; its config\.json says .* with {method}: name the"
    ):
        loading.load(ModelSource(str(folder)))
    put(folder, **{"model.layers.0.mlp.up_proj.g_idx": mx.zeros((8,), mx.int32)})
    assert fault(folder).startswith(f"{message} so (its groups are out of order, g_idx): name the model")
    configure(folder, quantization_config={"quant_method": method, "bits": 8})
    assert fault(folder).startswith(f"{message} so (it has 8 bits): name the model")


def test_a_format_that_only_the_text_models_config_names_is_seen(folder: Path) -> None:
    configure(folder, text_config={"quantization_config": {"quant_method": "hqq"}})
    assert fault(folder).startswith("is quantized with hqq")


def test_mlxs_own_format_beside_another_name_is_loaded(tmp_path: Path) -> None:
    base = tiny_model.quantized(tiny_model.build_llama(tmp_path / "plain"), tmp_path / "base", "affine")
    configure(base, quantization_config={"quant_method": "gptq", "bits": 8})
    assert list(faults_of_files(base)) == []


def test_a_spec_of_good_files_stays_without_faults(tmp_path: Path) -> None:
    assert faults_of_sources(JobSpec.model_validate_json(fake_worker.spec_text(tmp_path))) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "has no model_type, which says what kind of model it is"),
        ("{}", "has no model_type, which says what kind of model it is"),
    ],
)
def test_a_config_that_says_nothing_of_a_model_is_named(folder: Path, config: str, message: str) -> None:
    (folder / "config.json").write_text(config)
    assert fault(folder, at_a_claim=False) == f"has a config.json that {message}: copy or download it again"


@pytest.mark.parametrize(
    ("layers", "message"), [(5, "Missing 27 parameters: "), (1, "Received 9 parameters not in model: ")]
)
def test_weights_of_another_config_are_told_on_one_line(folder: Path, layers: int, message: str) -> None:
    configure(folder, num_hidden_layers=layers)
    with pytest.raises(JobError) as raised:
        loading.load(ModelSource(str(folder)))
    start = f"model {folder} cannot be loaded: its weights are not those that its config.json describes: {message}model.layers."
    assert str(raised.value).startswith(start)
    assert "\n" not in str(raised.value)


def test_files_that_macos_keeps_beside_a_models_own_are_no_fault_of_it(folder: Path) -> None:
    drives.sprinkle(folder)
    assert list(faults_of_files(folder)) == []
    (folder / "model.safetensors").unlink()
    spec = JobSpec.model_validate({"model": str(folder), "data": {"path": "org/pairs"}})
    assert list(map(str, faults_of_sources(spec))) == [f"model: {folder} has no weights (model*.safetensors)"]


def test_a_data_folder_with_hidden_files_alone_is_empty(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".DS_Store").write_bytes(b"Bud1")
    spec = JobSpec.model_validate({"model": str(folder), "data": {"path": str(tmp_path / "data")}})
    assert list(map(str, faults_of_sources(spec))) == [f"data.path: {tmp_path / 'data'} is an empty folder"]
