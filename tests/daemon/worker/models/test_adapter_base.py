"""An adapter whose config names another model, another revision or modules that it has not is told of in the job's report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.adapter_base import describe_adapter
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.outputs.peft import write_peft
from support.adapters import adapted
from support.jobs_on_disk import job


@pytest.fixture(scope="module", params=["peft", "mlx"])
def adapter(request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    folder = tmp_path_factory.mktemp("adapter")
    source, _ = adapted(tiny_model, folder / "mlx")
    assert source.adapter is not None
    if request.param == "peft":
        write_peft(source, source.adapter, folder / "peft")
    return replace(source, adapter=folder / request.param)


def notes(source: ModelSource, model: str | None = None, **settings: Any) -> list[str]:
    """What is told of the adapter with other settings in its config, each note without the adapter's folder."""
    assert source.adapter is not None
    path = source.adapter / "adapter_config.json"
    before = path.read_text()
    named = {("base_model_name_or_path" if "peft_type" in before else "model"): settings.pop("base", source.model)}
    path.write_text(json.dumps(json.loads(before) | named | settings))
    try:
        lines = describe_adapter(source if model is None else replace(source, model=model))
    finally:
        path.write_text(before)
    return [note.removeprefix(f"adapter {source.adapter} ") for note in lines]


def test_an_adapter_of_the_jobs_own_model_is_not_told_of(adapter: ModelSource) -> None:
    assert notes(adapter) == notes(adapter, base="") == notes(adapter, base=None) == []
    assert notes(adapter, base=f"{adapter.model}/../{Path(adapter.model).name}") == []
    assert describe_adapter(replace(adapter, adapter=None)) == []


@pytest.mark.parametrize(
    ("base", "model"),
    [
        ("/home/ann/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "mlx-community/SmolLM2-135M-Instruct-4bit"),
        ("unsloth/Qwen3-0.6B-bnb-4bit", "mlx-community/Qwen3-0.6B-MLX-bf16"),
        ("org/Tiny", "/cache/models--org--Tiny/snapshots/0123"),
        ("C:\\\\models\\\\tiny", "./tiny"),
    ],
)
def test_a_name_that_differs_in_its_path_is_told_and_no_fault(adapter: ModelSource, base: str, model: str) -> None:
    (note,) = notes(adapter, model, base=base)
    assert note.startswith(f"was trained on {base} (")
    assert note.endswith(f"which is taken to be {model} by its name")


@pytest.mark.parametrize("base", ["meta-llama/Llama-3.2-1B", "HuggingFaceTB/SmolLM2-360M-Instruct"])
def test_another_models_name_is_told_with_what_it_means(adapter: ModelSource, base: str) -> None:
    (note,) = notes(adapter, "HuggingFaceTB/SmolLM2-135M-Instruct", base=base)
    assert note.startswith(f"was trained on {base} (")
    assert note.endswith(
        "and is put on HuggingFaceTB/SmolLM2-135M-Instruct: on another model's weights it means nothing; name the one that it "
        "belongs to"
    )


def test_pefts_revision_and_targets_without_tensors_are_told(adapter: ModelSource) -> None:
    assert adapter.adapter is not None
    if adapter.adapter.name == "peft":
        settings = {"revision": "abc123", "target_modules": ["q_proj", "router"]}
        assert notes(adapter, **settings) == [
            f"was trained on revision abc123 of its model, and is put on {adapter.model} as it is here",
            "lists router in its config and has no tensors for it: no training puts it there",
        ]
        assert notes(adapter, revision="main") == []


def test_it_stands_in_the_jobs_report(home: Path, adapter: ModelSource, pairs_file: Path) -> None:
    assert adapter.adapter is not None
    path = adapter.adapter / "adapter_config.json"
    before = path.read_text()
    key = "base_model_name_or_path" if "peft_type" in before else "model"
    path.write_text(json.dumps(json.loads(before) | {key: "org/other"}))
    try:
        running_job = job(home, Path(adapter.model), pairs_file, adapter=str(adapter.adapter))
        assert any("was trained on org/other" in line for line in running_job.data.report.lines())
    finally:
        path.write_text(before)


def test_a_file_that_is_no_safetensors_is_named(adapter: ModelSource, tmp_path: Path) -> None:
    assert adapter.adapter is not None
    if adapter.adapter.name == "peft":
        (tmp_path / "adapter_config.json").write_text((adapter.adapter / "adapter_config.json").read_text())
        (tmp_path / "adapter_model.safetensors").write_bytes(b"PK")
        with pytest.raises(JobError, match=r"adapter_model\.safetensors is no safetensors file .*; copy it again"):
            describe_adapter(replace(adapter, adapter=tmp_path))
