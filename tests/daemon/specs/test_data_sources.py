"""What a spec may say of where its pairs are, what it may not, and where each setting ends up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from prefd.daemon.runs.snapshot import DataState, Stock, describe_changes, examine_data
from prefd.daemon.specs.data_sources import Source
from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.paths import faults_of_sources
from prefd.daemon.specs.summary import spec_facts
from prefd.daemon.text.validation_faults import explain_faults
from support import homes


def data(**settings: Any) -> DataSpec:
    return DataSpec.model_validate(settings)


def job(**settings: Any) -> JobSpec:
    return JobSpec.model_validate({"model": "org/model", "data": settings})


def refused(**settings: Any) -> list[str]:
    document = {"model": "org/model", "data": settings}
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(document)
    return list(map(str, explain_faults(caught.value, JobSpec, document, {})))


class TestSources:
    def test_one(self) -> None:
        settings = {"split": "train_prefs", "config": "prefs", "data_dir": "data", "revision": "v1"}
        expected = Source("data.path", "org/pairs", ("train_prefs",), "prefs", "data", "v1")
        assert data(path="org/pairs", **settings).sources == [expected]

    def test_a_list_whose_entries_say_what_is_theirs(self) -> None:
        own = {"path": "org/b", "weight": 0.5, "split": "train_sft", "config": "sft", "data_dir": "x", "revision": "v2"}
        spec = data(path=["org/a", own, {"path": "org/c"}], split="train_prefs", config="prefs", revision="v1")
        assert spec.sources == [
            Source("data.path[0]", "org/a", ("train_prefs",), "prefs", None, "v1"),
            Source("data.path[1]", "org/b", ("train_sft",), "sft", "x", "v2", 0.5),
            Source("data.path[2]", "org/c", ("train_prefs",), "prefs", None, "v1"),
        ]
        assert spec.where == "org/a, org/b, org/c"

    def test_held_out(self) -> None:
        assert data(path="org/a").held_out_sources == []
        spec = data(path="org/a", config="prefs", revision="v1", validation="org/a")
        own = Source("data.validation", "org/a", ("validation", "test"), "prefs", None, "v1")
        assert spec.held_out_sources == [own]
        spec = data(path="org/a", split="train_prefs", config="prefs", revision="v1", validation="org/b")
        assert spec.held_out_sources == [Source("data.validation", "org/b", ("validation", "test", "train_prefs"))]
        spec = data(path=[{"path": "org/a", "weight": 0.5}, "org/b"], validation_split="test_prefs")
        assert spec.held_out_sources == [
            Source("data.validation_split", path, ("test_prefs",)) for path in ("org/a", "org/b")
        ]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"path": ["a.jsonl", {"path": "b.jsonl", "weight": 2}]},
            (
                "data.path[1].weight: must be at most 1, got 2: it is the share of this dataset that is used, and no pair is "
                "repeated within an epoch (training.epochs repeats them all)"
            ),
        ),
        (
            {"path": [{"path": "b.jsonl", "weight": 0}]},
            "data.path[0].weight: must be above 0, got 0: leave the dataset out instead",
        ),
        (
            {"path": [{"path": "b.jsonl", "wieght": 1}]},
            "data.path[0].wieght: unknown key; did you mean data.path.weight?",
        ),
        ({"path": []}, "data.path: must have at least 1 item after validation, not 0, got a list"),
        ({"path": 5}, "data.path: expected text, got 5"),
        ({"path": ["a.jsonl", 5]}, "data.path[1]: expected text, got 5"),
        (
            {"path": ["a.jsonl", {"path": "a.jsonl", "weight": 0.5}]},
            "data.path[1]: it is data.path[0] already; training.epochs repeats pairs",
        ),
        (
            {"path": ["org/a", {"path": "org/a", "split": "b", "revision": "v2"}]},
            "data.path[1].revision: data.path[0] reads org/a at its newest revision; name the same one",
        ),
        (
            {"path": "org/a", "validation": 0.1, "validation_split": "test"},
            "data.validation_split: data.validation is a fraction, and this a whole split; give one of the two",
        ),
        (
            {"path": "org/a", "split": "test", "validation_split": "test"},
            "data.validation_split: it is the split that is trained on (data.split); name another",
        ),
        (
            {"path": "org/a", "data_dir": "../elsewhere"},
            'data.data_dir: must be a folder in the dataset, as harmless-base, got "../elsewhere"',
        ),
        (
            {"path": [{"path": "org/a", "data_dir": "/etc"}]},
            'data.path[0].data_dir: must be a folder in the dataset, as harmless-base, got "/etc"',
        ),
        ({"path": "org/a", "test_split": "x"}, "data.test_split: unknown key; it is called data.validation_split here"),
        ({"path": "org/a", "subset": "x"}, "data.subset: unknown key; it is called data.config here"),
        (
            {"path": "org/a", "weight": 0.5},
            "data.weight: unknown key; did you mean data.path: [{path: …, weight: …}]?",
        ),
    ],
)
def test_what_cannot_be_is_refused_at_its_place(settings: dict[str, Any], line: str) -> None:
    assert refused(**settings) == [line]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("dataset_name", "it is called data.path here"),
        ("dataset_config", "it is called data.config here"),
        ("dataset_train_split", "it is called data.split here"),
        ("dataset_test_split", "it is called data.validation_split here"),
        ("dataset_mixer", "several datasets are a list here: data.path: [{path: …, weight: …}]"),
    ],
)
def test_names_that_trl_and_the_handbook_have_lead_to_ours(name: str, answer: str) -> None:
    document = {"model": "org/model", "data": {"path": "org/a"}, name: "x"}
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(document)
    assert list(map(str, explain_faults(caught.value, JobSpec, document, {}))) == [f"{name}: unknown key; {answer}"]


def test_paths_are_absolute_in_a_claimed_job_and_nothing_is_added(tmp_path: Path) -> None:
    settings = {"path": ["a.jsonl", {"path": "b.jsonl", "weight": 0.5}], "validation_split": "test"}
    resolved = job(**settings).resolved(tmp_path)
    dumped = resolved.model_dump(mode="json", exclude_unset=True)["data"]
    a, b = str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")
    assert dumped == {"path": [a, {"path": b, "weight": 0.5}], "validation_split": "test"}
    assert JobSpec.model_validate_json(json.dumps({"model": "org/model", "data": dumped})).data == resolved.data


def test_a_spec_written_out_in_full_is_the_same_spec() -> None:
    spec = job(path=[{"path": "org/a", "weight": 0.5}, "org/b"], validation_split="test", config="prefs")
    assert JobSpec.model_validate(spec.model_dump()).data == spec.data
    assert JobSpec.model_validate_json(spec.model_dump_json()).data == spec.data


class TestFaultsOfSources:
    def faults(self, folder: Path, **settings: Any) -> list[str]:
        spec = homes.make_spec(model="org/model", data=settings).resolved(folder)
        return [str(fault).replace(str(folder), "F") for fault in faults_of_sources(spec)]

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for subset in ("harmless-base", "helpful-base"):
            (tmp_path / "hh" / subset).mkdir(parents=True)
            (tmp_path / "hh" / subset / "train.jsonl").write_text("{}")
        (tmp_path / "a.jsonl").write_text("{}")
        return tmp_path

    def test_none(self, folder: Path) -> None:
        assert self.faults(folder, path="hh", data_dir="harmless-base", validation_split="test") == []
        assert self.faults(folder, path=["a.jsonl", {"path": "org/pairs", "config": "prefs", "revision": "v1"}]) == []
        assert self.faults(folder, path=["a.jsonl", "org/pairs"], config="prefs") == []

    def test_each_dataset_is_looked_at(self, folder: Path) -> None:
        (folder / "empty").mkdir()
        assert self.faults(folder, path=["a.jsonl", "b.jsonl", {"path": "empty"}], validation="c.jsonl") == [
            "data.path[1]: no such file or folder: F/b.jsonl",
            "data.path[2]: F/empty is an empty folder",
            "data.validation: no such file or folder: F/c.jsonl",
        ]

    def test_the_folder_in_a_dataset(self, folder: Path) -> None:
        assert self.faults(folder, path="hh", data_dir="harmless") == [
            "data.data_dir: F/hh has no folder harmless; it has harmless-base, helpful-base"
        ]
        assert self.faults(folder, path="a.jsonl", data_dir="harmless") == [
            "data.data_dir: it is a folder in a dataset, and F/a.jsonl is one file; leave it out"
        ]
        assert self.faults(folder, path=["a.jsonl", {"path": "hh", "data_dir": "x"}]) == [
            "data.path[1].data_dir: F/hh has no folder x; it has harmless-base, helpful-base"
        ]

    def test_settings_of_the_hub_that_nothing_reads(self, folder: Path) -> None:
        assert self.faults(folder, path="hh", config="harmless-base", revision="v1") == [
            (
                "data.config: it is of datasets on the hub, and F/hh is on this machine; give the subset's folder as "
                "data.data_dir"
            ),
            "data.revision: it is of datasets on the hub, and F/hh is on this machine; leave it out",
        ]
        assert self.faults(folder, path=[{"path": "hh", "config": "x"}, "org/pairs"]) == [
            (
                "data.path[0].config: it is of datasets on the hub, and F/hh is on this machine; give the subset's folder as "
                "data.data_dir"
            )
        ]

    def test_what_is_trained_on_is_not_held_out(self, folder: Path) -> None:
        assert self.faults(folder, path=["a.jsonl", "org/pairs"], validation="a.jsonl") == [
            "data.validation: it is data.path itself, whose pairs are trained on; give a fraction, or other pairs"
        ]


def test_every_dataset_is_known_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefd.daemon.runs.hub_commits.find_commit", lambda name, revision: f"{name}@{revision}")
    for name in ("hh/harmless/train.jsonl.gz", "hh/harmless/dataset_infos.json", "hh/helpful/train.jsonl.gz", "a.tsv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    hh = {"path": str(tmp_path / "hh"), "data_dir": "harmless"}
    spec = job(path=[hh, str(tmp_path / "a.tsv"), {"path": "org/a", "revision": "v1"}, "org/b"], validation="org/a")
    data_files = examine_data(spec)
    assert list(data_files) == [str(tmp_path / "hh/harmless/train.jsonl.gz"), str(tmp_path / "a.tsv"), "org/a", "org/b"]
    assert data_files["org/a"] == DataState(revision="v1", commit="org/a@v1")
    assert data_files["org/b"] == DataState(revision="the newest", commit="org/b@None")


def test_what_has_changed_in_one_of_several_datasets_is_told(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.tsv"):
        (tmp_path / name).write_bytes(b"before")
    spec = job(path=[str(tmp_path / "a.jsonl.gz"), {"path": str(tmp_path / "b.tsv"), "weight": 0.5}])
    before = Stock(data=examine_data(spec))
    (tmp_path / "a.jsonl.gz").write_bytes(b"after it")
    (tmp_path / "b.tsv").unlink()
    first, second = describe_changes(before, Stock(data=examine_data(spec)))
    assert first.startswith(f"data: {tmp_path / 'a.jsonl.gz'} has changed since the job was claimed (6 bytes, sha256 ")
    assert second == f"data: {tmp_path / 'b.tsv'} was there when the job was claimed, and is gone"


def test_a_spec_is_described_by_each_of_its_datasets() -> None:
    prefs = {"path": "org/b", "weight": 0.5, "config": "prefs", "split": "train_prefs", "data_dir": "x"}
    facts = spec_facts(job(path=["org/a", prefs], validation_split="test"))
    position = facts.index(("data", "org/a"))
    assert facts[position + 1 : position + 3] == [
        ("", "org/b (config prefs, data_dir x, split train_prefs, weight 0.5)"),
        ("", "at most 1024 tokens; held out: the split test"),
    ]
    facts = spec_facts(job(path="org/a", validation="org/b", validation_split="test"))
    assert ("", "at most 1024 tokens; held out: the split test of org/b") in facts
