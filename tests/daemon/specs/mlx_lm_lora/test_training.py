"""The training settings of a flat config of mlx-lm-lora mean here what they mean there."""

from __future__ import annotations

import inspect
import math
from pathlib import Path

import pytest
from mlx import optimizers

from prefd.daemon.specs.job_spec import OutputSpec
from prefd.daemon.specs.training_spec import QATSpec, TrainingSpec
from support import fake_worker
from support.flat_configs import faults, read, training


def test_what_decides_the_result_and_is_left_out_is_as_there() -> None:
    file = read("model: org/m\ndata: org/d\ntrain_mode: dpo\n")
    spec, training_spec = file.spec, training(file)
    assert (spec.loss.name, training_spec.batch_size, spec.data.max_length, training_spec.iters) == (
        "sigmoid",
        1,
        2048,
        100,
    )
    assert (training_spec.lora.scale, training_spec.lora.rank, training_spec.fine_tune, training_spec.num_layers) == (
        10.0,
        8,
        "lora",
        -1,
    )
    assumed = "batch_size 1, max_seq_length 2048, lora_parameters.scale 10.0, optimizer adam, "
    assumed += "optimizer_config.adam.bias_correction false, iters 100"
    assert f"not in the file, so as in mlx-lm-lora: {assumed}" in file.notes


def test_batches_there_are_optimizer_steps_here() -> None:
    file = read(gradient_accumulation_steps=8, iters=500, steps_per_eval=100, save_every=4)
    training_spec = training(file)
    assert training_spec.gradient_accumulation_steps == 8
    assert (training_spec.iters, training_spec.steps_per_eval, training_spec.save_every) == (
        math.ceil(500 / 8),
        math.ceil(100 / 8),
        1,
    )
    assert any("iters 63" in note for note in file.notes)
    assert training(read(grad_accumulation=4)).gradient_accumulation_steps == 4


def test_iters_win_over_epochs_as_there() -> None:
    both = read(epochs=3)
    assert (training(both).iters, training(both).epochs) == (500, None)
    assert any(note.startswith("ignored: epochs, because") for note in both.notes)
    assert (training(read(epochs=3, iters=None)).iters, training(read(epochs=3, iters=None)).epochs) == (None, 3)


def test_the_settings_of_the_chosen_optimizer_are_taken_and_those_left_out_are_as_there() -> None:
    every = {"adam": {}, "adamw": {"weight_decay": 0.1, "betas": [0.9, 0.98]}, "muon": {"momentum": 0.9}}
    adamw = training(read(optimizer="AdamW", optimizer_config=every))
    assert (adamw.optimizer, adamw.weight_decay) == ("adamw", 0.1)
    assert adamw.optimizer_config == {"betas": [0.9, 0.98], "bias_correction": False}
    muon = training(read(optimizer="muon", optimizer_config=every))
    assert (muon.optimizer, muon.weight_decay, muon.optimizer_config) == ("muon", 0.01, {"momentum": 0.9})
    assert training(read(optimizer="adamw")).weight_decay == 0.01
    corrected = {"adam": {"bias_correction": True}}
    assert training(read(optimizer_config=corrected)).optimizer_config == {"bias_correction": True}


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW"), ("muon", "Muon")])
def test_an_optimizer_without_settings_runs_with_mlxs_own(name: str, kind: str) -> None:
    training_spec = training(read(optimizer=name))
    theirs = inspect.signature(getattr(optimizers, kind)).parameters
    settings = training_spec.optimizer_settings.model_dump() | {"weight_decay": training_spec.weight_decay}
    for key in theirs.keys() - {"learning_rate"}:
        default = theirs[key].default
        assert settings[key] == (list(default) if isinstance(default, tuple) else default), key


def test_a_schedule_is_taken_as_it_is_and_begins_where_its_arguments_say() -> None:
    schedule = {"name": "cosine_decay", "warmup": 5, "arguments": [1e-4, 100, 1e-6]}
    file = read(lr_schedule=schedule)
    training_spec = training(file)
    assert training_spec.lr_schedule is not None
    assert training_spec.lr_schedule.model_dump(exclude_unset=True) == schedule
    assert training_spec.learning_rate == 1e-4
    assert "ignored: learning_rate, because lr_schedule begins at another" in file.notes
    assert "learning_rate" not in "".join(read(lr_schedule=schedule, learning_rate=1e-4).notes)


def test_quantization_aware_training_has_the_bits_groups_and_start_that_it_has_there() -> None:
    assert training(read(qat_enable=False, qat_bits=4)).qat is None
    file = read(qat_enable=True)
    assert training(file).qat == QATSpec(bits=8, group_size=64, start_step=1)
    assert any("qat_bits 8, qat_group_size 64, qat_start_step 1" in note for note in file.notes)
    training_spec = training(read(qat_enable=True, qat_bits=4, qat_group_size=32, qat_start_step=7, qat_mode="affine"))
    assert training_spec.qat == QATSpec(bits=4, group_size=32, start_step=7)


def test_what_bounds_memory_there_does_so_here() -> None:
    assert training(read(grad_checkpoint=True)).grad_checkpoint
    assert training(read(efficient_long_context=True)).chunk_tokens == 512
    assert training(read(efficient_long_context=True, seq_step_size=128)).chunk_tokens == 128
    assert training(read(seq_step_size=128)).chunk_tokens == 128
    off = read(efficient_long_context=False, seq_step_size=128)
    assert training(off).chunk_tokens == TrainingSpec().chunk_tokens
    assert any(note.startswith("ignored: seq_step_size, because") for note in off.notes)


def test_a_fused_model_is_written_only_where_the_file_asks_for_one() -> None:
    assert not read().spec.output.wanted
    assert not read(fuse=False).spec.output.wanted
    assert read(fuse=True).spec.output == OutputSpec(fuse=True)
    assert any(note.startswith("fuse: the weights of a model that is quantized") for note in read(fuse=True).notes)
    assert not any("fuse" in note for note in read(fuse=True, load_in_4bits=True).notes), "as there"


def test_a_quantized_policy_is_compared_with_the_plain_model_as_there() -> None:
    file = read(load_in_4bits=True)
    quantize = training(file).quantize
    assert quantize is not None
    assert (quantize.bits, quantize.group_size) == (4, 128)
    assert file.spec.reference is not None
    assert file.spec.reference.model == "org/small-instruct"
    assert any(note.startswith("reference: the plain model") for note in file.notes)
    assert read(load_in_4bits=True, train_mode="cpo").spec.reference is None
    assert faults(load_in_8bits=True, train_type="full")[0].endswith(
        "load_in_8bits: needs train_type lora or dora: quantized weights cannot be trained in full"
    )


def test_an_adapter_to_go_on_from_is_its_folder() -> None:
    file = read(resume_adapter_file="old/adapters.safetensors", lora_parameters=None)
    assert file.spec.adapter == "old"
    assert training(file).lora.model_fields_set == set(), "its own rank and scale"
    assert not any("scale" in note for note in file.notes)
    peft = read(resume_adapter_file="old/adapter_model.safetensors", lora_parameters=None)
    assert peft.spec.adapter == file.spec.adapter
    assert "adapter_config.json" in faults(resume_adapter_file="old/0000100_adapters.safetensors")[0]


def test_valid_jsonl_beside_the_training_rows_is_held_out(tmp_path: Path) -> None:
    fake_worker.model_folder(tmp_path / "m")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "train.jsonl").write_text("{}\n")
    without = read(folder=tmp_path, model="m", data="d")
    assert without.spec.data.validation == 0.0
    assert any("no valid.jsonl" in note for note in without.notes)
    (tmp_path / "d" / "valid.jsonl").write_text("{}\n")
    assert read(folder=tmp_path, model="m", data="d").spec.data.validation == str(tmp_path / "d")
