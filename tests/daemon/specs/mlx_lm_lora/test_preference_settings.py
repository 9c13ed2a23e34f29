"""The preference settings of a flat config of mlx-lm-lora: loss, reference and columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.reading import load_specs
from support import fake_worker
from support.flat_configs import read


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
