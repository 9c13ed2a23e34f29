"""What is wrong in a flat config of mlx-lm-lora, or has no meaning here, is told by its name there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.mlx_lm_lora.settings import IGNORED, LOSSES, NAMES, REFUSED
from prefd.daemon.specs.reading import read_specs
from prefd.daemon.specs.spec_error import SpecError
from support import fake_worker
from support.flat_configs import faults, read


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"max_seq_length": 1}, "line 16: max_seq_length: must be greater than or equal to 2, got 1"),
        ({"lora_parameters": {"rank": 0}}, "line 13: lora_parameters.rank: must be greater than or equal to 1, got 0"),
        ({"lora_parameters": {"alpha": 16}}, "lora_parameters.alpha: unknown key; mlx-lm has a scale in its place, alpha / rank: lora_parameters.scale"),
        ({"train_type": "prefix"}, "train_type: must be 'lora', 'dora' or 'full', got \"prefix\""),
        ({"model": None}, "model: missing: HF id or folder"),
        ({"data": None}, "data: missing: a jsonl"),
        ({"learning_rate": "5e-6"}, 'learning_rate: expected a number, got "5e-6" (take the quotes away)'),
        ({"iters": 0}, "iters: must be greater than or equal to 1, got 0"),
        ({"grad_accumulation": "many"}, 'grad_accumulation: expected a whole number, got "many"'),
        ({"train_mode": "rrhf"}, 'train_mode: must be dpo or cpo; got "rrhf": RRHF is not one of '),
        ({"train_mode": None}, "train_mode: must be dpo or cpo; the default there is sft"),
        ({"dpo_cpo_loss_type": "kto"}, 'dpo_cpo_loss_type: must be sigmoid, hinge, ipo, dpop, got "kto"'),
        (
            {"grad_accumulation": 2, "gradient_accumulation_steps": 2},
            "grad_accumulation: is gradient_accumulation_steps",
        ),
        ({"optimizer": "sophia"}, "optimizer: must be 'adam', 'adamw', 'adafactor', 'lion', 'sgd' or 'muon', got \"sophia\""),
        ({"optimizer_config": {"eps": 1e-6}}, "line 17: optimizer_config.eps: write it as optimizer_config.adam.eps"),
        ({"optimizer_config": {"adam": {"eps": "x"}}}, 'line 17: optimizer_config.adam.eps: expected a number, got "x"'),
        ({"optimizer_config": {"adam": {"weight_decay": 0.1}}}, "line 17: optimizer_config.adam.weight_decay: adam has none"),
        ({"optimizer_config": {"adam": {"momentum": 0.9}}}, "line 17: optimizer_config.adam.momentum: adam takes betas"),
        ({"optimizer_config": {"adam": {"learning_rate": 0.9}}}, "adam.learning_rate: not here: it is learning_rate"),
        ({"optimizer_config": {"adam": [1]}}, "optimizer_config: expected a mapping of settings for adam, got a list"),
        ({"lr_schedule": {"name": "cosine"}}, "line 17: lr_schedule.name: must be 'constant'"),
        ({"lr_schedule": {"name": "step_decay", "arguments": [1, 2, 3]}}, "line 17: lr_schedule.arguments[1]: decay_rate must be"),
        ({"qat_enable": True, "qat_bits": 1}, "qat_bits: must be 2, 3, 4, 5, 6 or 8, got 1"),
        ({"qat_enable": True, "qat_mode": "mxfp4"}, 'qat_mode: must be affine, got "mxfp4"'),
        ({"qat_enable": True, "qat_start_step": 500}, "line 18: qat_start_step: the job has 500 steps (iters), so no step would be"),
        ({"qat_enable": True, "load_in_4bits": True}, "qat_enable: weights that load_in_4bits has quantized at load"),
        ({"seq_step_size": 8}, "line 17: seq_step_size: must be greater than or equal to 16, got 8"),
        ({"grad_checkpoint": 1}, "line 17: grad_checkpoint: expected true or false, got 1"),
        ({"fuse": "yes"}, 'fuse: expected true or false, got "yes"'),
        ({"load_in_mxfp4": True}, "load_in_mxfp4: cannot be honoured: "),
        ({"load_in_4bits": 1}, "load_in_4bits: expected true or false, got 1"),
        ({"train": False}, "train: false asks for a test pass alone"),
        ({"lora_alpha": 16}, "lora_alpha: unknown key; mlx-lm has a scale in its place, alpha / rank: lora_parameters.scale"),
        ({"lora_r": 16}, "lora_r: unknown key; it is called lora_parameters.rank here"),
        ({"val_size": 16}, "val_size: unknown key; mlx-lm-lora has no such setting"),
        ({"learningrate": 1}, "learningrate: unknown key; did you mean learning_rate?"),
        ({"sweep": {"beta": [0.1]}}, "sweep: cannot be honoured: it goes with a spec of prefd's own form"),
    ],
    ids=str,
)  # fmt: skip
def test_a_fault_is_told_by_the_name_and_line_in_the_file(changes: dict[str, Any], line: str) -> None:
    messages = faults(**changes)
    assert len(messages) == 1
    assert line in messages[0]
    assert not any(f"{block}." in messages[0] for block in ("training", "data", "loss", "reference", "output"))


def test_a_fault_of_a_parameter_or_a_path_is_told_by_the_name_in_the_file(tmp_path: Path) -> None:
    fake_worker.model_folder(tmp_path / "m")
    text = "model: m\ntrain_mode: dpo\ndata: pairs.jsonl\nreference_model_path: gone\nbeta: -1\n"
    with pytest.raises(SpecError) as caught:
        read_specs(text.encode(), "old.yaml", fake_worker.catalog(), tmp_path)
    assert caught.value.lines[0].startswith("old.yaml: line 5: beta: ")
    with pytest.raises(SpecError) as caught:
        read_specs(text.replace("-1", "1").encode(), "old.yaml", fake_worker.catalog(), tmp_path)
    assert [fault.path for fault in caught.value.faults] == ["data", "reference_model_path"]


def test_what_has_no_meaning_here_is_noted_with_the_reason() -> None:
    file = read(adapter_path="adapters", val_batches=25, test=True, qat_interval=2, temperature=0.8, delta=5.0)
    ignored = {note.split()[1].rstrip(","): note for note in file.notes if note.startswith("ignored: ")}
    assert ignored.keys() == {"adapter_path", "val_batches", "test", "qat_interval", "temperature", "delta"}
    assert all(", because " in note for note in ignored.values())
    quiet = read(test=False, fuse=False, grad_checkpoint=False, load_in_mxfp4=False)
    assert not any(note.startswith("ignored") for note in quiet.notes)


def test_every_setting_of_a_spec_that_is_mapped_to_exists() -> None:
    for name, path in NAMES.items():
        model: Any = JobSpec
        if path[0] == "loss":
            continue
        for part in path:
            field = model.model_fields[part]
            model = next((each for each in (field.annotation, *getattr(field.annotation, "__args__", ())) if hasattr(each, "model_fields")), None)  # fmt: skip
        assert field is not None, name
    assert not set(NAMES) & (set(IGNORED) | set(REFUSED))
    assert {name for losses in LOSSES.values() for name in losses.values()} == {
        *("sigmoid", "hinge", "ipo", "dpop", "cpo", "cpo_hinge", "cpo_ipo", "cpo_dpop")
    }
