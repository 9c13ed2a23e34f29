from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefd.daemon.specs.reading import SpecFile, read_specs
from prefd.daemon.specs.spec_error import SpecError
from prefd.daemon.specs.sweep import MAX_JOBS, SweepError, expand_sweep, read_axes
from support import fake_worker
from support.jobs_on_disk import make_job, run_precompute

BASE = {"name": "s", "model": "org/m", "data": {"path": "org/d"}, "training": {"iters": 2}}
NAMES = ["loss.beta", "loss.name", "training.seed", "model", "training.lora.rank"]


def read(sweep: Any, name: str = "sweep.json", folder: Path | None = None, **changes: Any) -> SpecFile:
    text = json.dumps(BASE | changes | {"sweep": sweep})
    return read_specs(text.encode(), name, fake_worker.catalog(), folder)


def faults(sweep: Any, **changes: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(sweep, **changes)
    return [f"{fault.path}: {fault.message}".removeprefix(": ") for fault in caught.value.faults]


def test_each_combination_is_a_job_the_last_setting_changing_fastest() -> None:
    file = read({"loss.beta": [0.05, 0.1], "loss.name": ["sigmoid", "ipo"]})
    assert [(spec.name, spec.loss.params["beta"], spec.loss.name) for spec in file.specs] == [
        ("s-1", 0.05, "sigmoid"),
        ("s-2", 0.05, "ipo"),
        ("s-3", 0.1, "sigmoid"),
        ("s-4", 0.1, "ipo"),
    ]
    assert {spec.group for spec in file.specs} == {"s"}
    assert file.settings[1] == "loss.beta 0.05, loss.name ipo"
    assert all(spec.training is not None and spec.training.iters == 2 for spec in file.specs)


axes = st.dictionaries(
    st.sampled_from(NAMES), st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True), min_size=1, max_size=4
)


@given(axes)
def test_combinations_are_all_there_and_the_document_is_left_as_it_was(values: dict[str, list[int]]) -> None:
    before = json.dumps(BASE)
    combinations = list(expand_sweep(BASE, read_axes(values)))
    assert len(combinations) == math.prod(map(len, values.values()))
    assert len({each.describe() for each in combinations}) == len(combinations)
    for each in combinations:
        for name, value in each.settings.items():
            node: Any = each.document
            for part in name.split("."):
                node = node[part]
            assert node == value
            assert value in values[name]
    assert json.dumps(BASE) == before


def test_toml_tables_and_whole_blocks_can_be_swept() -> None:
    text = 'model = "org/m"\n[data]\npath = "org/d"\n[loss]\nname = "ipo"\n[sweep]\nloss.beta = [0.1, 0.2]\ntraining.seed = [1, 2]\n'
    assert len(read_specs(text.encode(), "a.toml").specs) == 4
    blocks = read({"loss": [{"name": "sigmoid"}, {"name": "ipo", "beta": 0.2}]})
    assert [spec.loss.name for spec in blocks.specs] == ["sigmoid", "ipo"]
    assert blocks.settings[1] == 'loss {"name": "ipo", "beta": 0.2}'


@pytest.mark.parametrize(
    ("sweep", "line"),
    [
        ([], "sweep: expected settings with lists of values, got a list"),
        (None, "sweep: expected settings with lists of values, got nothing"),
        ({}, "sweep: names no setting; leave it out for one job"),
        ({"loss.beta": 0.1}, "sweep.loss.beta: expected a list of values, got 0.1"),
        ({"loss.beta": []}, "sweep.loss.beta: expected a list of values, got none"),
        ({"loss.beta": [0.1, 0.1]}, "sweep.loss.beta: 0.1 is given twice"),
        ({"name": ["a", "b"]}, "sweep.name: cannot be swept: the jobs are named and grouped by the sweep"),
        ({"loss.name": ["ipo"], "loss": [{"name": "ipo"}]}, "sweep.loss.name: loss is swept too, and sets it; give one of them"),
        ({"model.path": ["a"]}, "sweep.model.path: model is text in this spec, without settings of its own"),
        ({"training.seed": list(range(20)), "loss.beta": list(range(1, 21))}, "sweep: 20 × 20 = 400 combinations; at most 256: sweep in several specs"),
    ],
    ids=str,
)  # fmt: skip
def test_a_sweep_that_makes_no_sense_is_refused(sweep: Any, line: str) -> None:
    assert faults(sweep) == [line]


def test_at_most_256_jobs_come_of_one_file() -> None:
    assert len(read({"training.seed": list(range(16)), "training.num_layers": list(range(1, 17))}).specs) == MAX_JOBS
    with pytest.raises(SweepError, match="at most 256"):
        read_axes({"training.seed": list(range(257))})


def test_many_combinations_of_a_long_spec_are_refused_before_they_are_made() -> None:
    sweep = {"training.seed": list(range(16)), "training.num_layers": list(range(1, 17))}
    keys = [f"layer-{number}" for number in range(4000)]
    assert "combinations of a spec this long" in faults(sweep, training={"lora": {"keys": keys}})[0]


def test_one_bad_combination_refuses_all_and_is_named() -> None:
    assert faults({"loss.name": ["dpop", "ipo"], "loss.delta": [5.0, 10.0]}) == [
        "loss.delta: unknown parameter; known: beta, length_normalize (ipo) (with loss.name ipo, loss.delta 5.0, and 1 more)"
    ]
    assert faults({"training.lerning_rate": [1.0, 2.0]}) == [
        "training.lerning_rate: unknown key; did you mean training.learning_rate?"
    ]
    messages = faults({"training.seed": list(range(-30, 0))})
    assert len(messages) == 21
    assert messages[-1] == "… and 10 more faults"


def test_a_fault_of_a_swept_value_has_its_line() -> None:
    text = "model: org/m\ndata: {path: org/d}\nsweep:\n  training.seed: [1]\n  training.batch_size: [2, 0]\n"
    with pytest.raises(SpecError) as caught:
        read_specs(text.encode(), "a.yaml")
    (line,) = caught.value.lines
    assert line.startswith("a.yaml: line 5: training.batch_size: must be greater than or equal to 1, got 0 (with ")
    assert line.endswith("(with training.seed 1, training.batch_size 0)")


def test_one_job_is_wanted_where_there_are_several() -> None:
    with pytest.raises(SpecError, match="a sweep of 2 jobs, where one job is wanted"):
        _ = read({"training.seed": [1, 2]}).spec


def test_what_is_handed_in_is_the_same_sweep_wherever_it_lies(tmp_path: Path) -> None:
    for model in ("a", "b"):
        fake_worker.model_folder(tmp_path / model)
    (tmp_path / "pairs.jsonl").write_text("{}\n")
    sweep = {"model": ["./a", "b"], "loss": [{"name": "ipo"}, {"name": "sigmoid", "beta": 0.3}]}
    file = read(sweep, folder=tmp_path, data={"path": "pairs.jsonl"})
    assert [spec.model for spec in file.specs] == [str(tmp_path / name) for name in ("a", "a", "b", "b")]
    elsewhere = read_specs(
        json.dumps(file.document()).encode(), "x.json", fake_worker.catalog(), tmp_path / "elsewhere"
    )
    assert elsewhere.specs == file.specs


def test_two_names_of_one_path_are_one_job(tmp_path: Path) -> None:
    fake_worker.model_folder(tmp_path / "a")
    (tmp_path / "pairs.jsonl").write_text("{}\n")
    with pytest.raises(SpecError, match=r"\(model \./a\) and \(model a\) are the same job"):
        read({"model": ["./a", "a"]}, folder=tmp_path, data={"path": "pairs.jsonl"})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*NAMES, "loss", "x", ""]), inner, max_size=2),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_any_sweep_gives_jobs_or_a_spec_error(value: Any) -> None:
    lines: tuple[str, ...] = ()
    try:
        assert read(value).specs
    except SpecError as error:
        lines = error.lines
    assert all(line.startswith("sweep.json: ") and line.isprintable() for line in lines)


def test_a_sweep_of_losses_scores_its_pairs_once(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    base = {"model": str(tiny_model), "data": {"path": str(pairs_file)}}
    sweep = {"loss.name": ["sigmoid", "ipo", "dpop"], "loss.beta": [0.05, 0.1]}
    specs = read(sweep, **base).specs
    jobs = [make_job(home, number, **spec.model_dump()) for number, spec in enumerate(specs, 1)]
    scored = [run_precompute(job).summary.scored for job in jobs]
    assert scored[0] > 0
    assert scored[1:] == [0] * 5
