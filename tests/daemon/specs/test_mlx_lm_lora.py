"""Flat configs of mlx-lm-lora, in the shape that its README shows."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx import optimizers

from prefd.daemon.specs.job_spec import JobSpec, OutputSpec
from prefd.daemon.specs.mlx_lm_lora.flat_config import is_flat
from prefd.daemon.specs.mlx_lm_lora.settings import IGNORED, KNOWN, LOSSES, NAMES, REFUSED
from prefd.daemon.specs.reading import SpecFile, load_specs, read_specs
from prefd.daemon.specs.spec_error import SpecError
from prefd.daemon.specs.training_spec import QATSpec, TrainingSpec
from support import fake_worker

DPO = """
model: org/small-instruct
train: true
data: org/some-preferences
train_mode: dpo
beta: 0.2
dpo_cpo_loss_type: ipo
batch_size: 2
learning_rate: 5e-6
iters: 500
max_seq_length: 512
train_type: lora
lora_parameters:
  rank: 16
  dropout: 0.0
  scale: 10.0
"""


def read(text: str = DPO, folder: Path | None = None, **changes: Any) -> SpecFile:
    """The file with `changes` as lines of its own; None takes the setting out."""
    lines = [line for line in text.splitlines() if line.partition(":")[0] not in changes]
    if "lora_parameters" in changes:
        lines = [line for line in lines if not line.startswith(" ")]
    added = [f"{name}: {json.dumps(value)}" for name, value in changes.items() if value is not None]
    return read_specs("\n".join(lines + added).encode(), "old.yaml", folder=folder)


def training(file: SpecFile) -> TrainingSpec:
    assert file.spec.training is not None
    return file.spec.training


def faults(**changes: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(**changes)
    return [line.removeprefix("old.yaml: ") for line in caught.value.lines]


def test_a_dpo_config_is_a_spec() -> None:
    file = read()
    assumed = "optimizer adam, optimizer_config.adam.bias_correction false"
    assert file.notes == (f"not in the file, so as in mlx-lm-lora: {assumed}",)
    assert file.spec == JobSpec.model_validate(
        {
            "name": "old",
            "model": "org/small-instruct",
            "data": {"path": "org/some-preferences", "max_length": 512},
            "loss": {"name": "ipo", "beta": 0.2},
            "training": {
                "fine_tune": "lora",
                "lora": {"rank": 16, "dropout": 0.0, "scale": 10.0},
                "optimizer": "adam",
                "optimizer_config": {"bias_correction": False},
                "learning_rate": 5e-6,
                "batch_size": 2,
                "iters": 500,
            },
        }
    )


@pytest.mark.parametrize("mode", ["dpo", "cpo"])
@pytest.mark.parametrize("kind", ["sigmoid", "hinge", "ipo", "dpop"])
def test_mode_and_loss_type_are_one_of_eight_losses(mode: str, kind: str) -> None:
    spec = read(train_mode=mode, dpo_cpo_loss_type=kind).spec
    assert spec.loss.name == (kind if mode == "dpo" else {"sigmoid": "cpo"}.get(kind, f"cpo_{kind}"))
    assert spec.loss.params == {"beta": 0.2}


def test_the_preference_settings_map_one_to_one() -> None:
    file = read(
        beta=0.05,
        dpo_cpo_loss_type="dpop",
        delta=10.0,
        reference_model_path="org/reference",
        prompt_feature="question",
        chosen_feature="good",
        rejected_feature="bad",
        system_feature="persona",
    )
    spec = file.spec
    assert (spec.loss.name, spec.loss.params) == ("dpop", {"beta": 0.05, "delta": 10.0})
    assert spec.reference is not None
    assert spec.reference.model == "org/reference"
    features = (spec.data.prompt_feature, spec.data.chosen_feature, spec.data.rejected_feature)
    assert features == ("question", "good", "bad")
    assert spec.data.system_feature == "persona"


AS_THEIR_README = """
model: ./small
train: true
data: ./preferences
train_mode: {mode}
beta: 0.3
dpo_cpo_loss_type: dpop
delta: 20.0
reference_model_path: ./first
prompt_feature: asked
chosen_feature: better
rejected_feature: worse
batch_size: 2
learning_rate: 4e-6
iters: 40
"""
"""A preference run's file, its data a folder of train.jsonl and valid.jsonl."""
SEVEN: dict[str, tuple[Any, tuple[str, ...], Any]] = {
    "beta": (0.7, ("loss", "beta"), 0.7),
    "dpo_cpo_loss_type": ("dpop", ("loss", "name"), {"dpo": "dpop", "cpo": "cpo_dpop"}),
    "delta": (5.0, ("loss", "delta"), 5.0),
    "reference_model_path": ("second", ("reference", "model"), "second"),
    "prompt_feature": ("question", ("data", "prompt_feature"), "question"),
    "chosen_feature": ("yes", ("data", "chosen_feature"), "yes"),
    "rejected_feature": ("no", ("data", "rejected_feature"), "no"),
}
"""Each of the preference settings: another value, its place in a spec, and what stands there then."""


@pytest.fixture
def their_folder(tmp_path: Path) -> Path:
    for name in ("small", "first", "second"):
        fake_worker.model_folder(tmp_path / name)
    (tmp_path / "preferences").mkdir()
    for name in ("train.jsonl", "valid.jsonl"):
        (tmp_path / "preferences" / name).write_text("{}\n")
    return tmp_path


def leaves(spec: JobSpec) -> dict[tuple[str, ...], Any]:
    """Each value of a spec by its place."""

    def walk(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        if isinstance(value, dict):
            for name, each in value.items():
                yield from walk(each, (*place, name))
        else:
            yield place, value

    return dict(walk(spec.model_dump(mode="json"), ()))


@pytest.mark.parametrize("mode", ["dpo", "cpo"])
@pytest.mark.parametrize("name", SEVEN)
def test_each_of_the_seven_preference_settings_decides_one_place_of_the_spec(
    their_folder: Path, name: str, mode: str
) -> None:
    file = their_folder / "theirs.yaml"
    text = AS_THEIR_README.format(mode=mode)
    file.write_text(text)
    every = {**fake_worker.CATALOG["losses"], "cpo_dpop": fake_worker.CATALOG["losses"]["dpop"]}
    catalog = fake_worker.catalog({**fake_worker.CATALOG, "losses": every})
    before = load_specs(file, catalog)
    unused = mode == "cpo" and name == "reference_model_path"
    assert (f"ignored: {name}, because CPO has no reference" in before.notes) is unused
    value, place, then = SEVEN[name]
    other = "sigmoid" if name == "dpo_cpo_loss_type" else value
    file.write_text(re.sub(rf"^{name}: .*$", f"{name}: {other}", text, flags=re.MULTILINE))
    was, now = leaves(before.spec), leaves(load_specs(file, catalog).spec)
    changed = {key for key in was.keys() | now.keys() if was.get(key) != now.get(key)}
    if unused:
        assert changed == set()
    elif name == "dpo_cpo_loss_type":  # delta is dpop's alone
        assert changed == {place, ("loss", "delta")}
        assert was[place] == then[mode]
    else:
        assert changed == {place}
        assert now[place] == (str(their_folder / "second") if name == "reference_model_path" else then)


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


@pytest.mark.parametrize(
    ("value", "flat"),
    [
        ({"train_mode": "dpo"}, True),
        ({"data": "d", "lora_parameters": {}}, True),
        ({"data": "d", "model": "m"}, False),
        ({"data": {"path": "d"}, "lora_parameters": {}}, False),
        ({"data": "d", "training": {}, "train_type": "lora"}, False),
    ],
    ids=str,
)
def test_a_flat_config_is_known_by_its_settings(value: dict[str, Any], flat: bool) -> None:
    assert is_flat(value) is flat


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.floats(-1, 1)
    | st.sampled_from(["", "x", "cpo", "dpop", "adamw"])
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(KNOWN), SCALARS | st.lists(SCALARS, max_size=1) | st.dictionaries(st.just("adamw"), SCALARS)
    )
)
def test_any_values_give_a_spec_or_a_spec_error(value: dict[str, Any]) -> None:
    text = json.dumps(value | {"train_mode": value.get("train_mode", "dpo")}).encode()
    lines: tuple[str, ...] = ()
    try:
        assert read_specs(text, "x.json", fake_worker.catalog()).spec
    except SpecError as error:
        lines = error.lines
    assert all(line.startswith("x.json: ") and line.isprintable() for line in lines)
