"""Rows of a dataset on the hub. `datasets.load_dataset` stands in for the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from prefd.daemon.specs.data_sources import Source
from prefd.daemon.worker.data.rows import DataError, read_rows
from support.row_files import ROWS, failure, read


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []

    def load_dataset(
        name: str, config: str | None, *, data_dir: str | None, split: str, revision: str | None
    ) -> datasets.Dataset:
        calls.append((name, config, data_dir, split, revision))
        if split != "test":
            raise ValueError(f'Unknown split "{split}". Should be one of ["test"].\nmore')
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets, "disable_progress_bars", lambda: None)
    return calls


def refuse(monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[str]:
    """Every load ends with `error`; the splits that were asked for."""
    calls: list[str] = []

    def load_dataset(*_: Any, split: str, **__: Any) -> Any:
        calls.append(split)
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def test_all_that_the_spec_says_is_passed_on(calls: list[Any]) -> None:
    source = Source("data.path", "org/pairs", ("test",), "prefs", "harmless-base", "v1")
    got = read_rows(source)
    assert got.rows == ROWS
    assert calls == [("org/pairs", "prefs", "harmless-base", "test", "v1")]
    assert list(map(str, got.places)) == [f"org/pairs[test] row {number}" for number in (1, 2, 3)]


def test_what_is_no_text_stays_as_it_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features({"chosen": datasets.Json(), "image": datasets.Image()})
    picture = {"bytes": b"no picture", "path": "a.png"}
    rows = [{"chosen": [{"role": "user", "content": "Q"}], "image": picture}, {"chosen": "text", "image": None}]
    whole = datasets.Dataset.from_list(rows, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: whole)
    assert read("org/pairs") == rows


def test_a_part_of_a_split(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = datasets.Dataset.from_list(ROWS)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: whole.select([2, 0]))
    assert read("org/pairs", "train[:50%]") == [ROWS[2], ROWS[0]]


def test_the_first_split_that_is_there(calls: list[Any]) -> None:
    assert read("org/pairs", "validation", "test", "train") == ROWS
    assert [split for *_, split, _ in calls] == ["validation", "test"]


def test_splits_that_are_not_there_are_told_with_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ValueError("Unknown split \"train\". Should be one of ['test_prefs', 'train_prefs', 'train_sft'].")
    refuse(monkeypatch, error)
    listed = "test_prefs, train_prefs, train_sft"
    assert failure("org/pairs") == (
        f"org/pairs: it has no split 'train', but {listed}; name one: data.split: train_prefs"
    )
    with pytest.raises(DataError) as caught:
        read_rows(Source("data.validation", "org/pairs", ("validation", "test")))
    assert str(caught.value) == (
        f"org/pairs: it has no split 'validation' or 'test', but {listed}; name one: data.validation_split: test_prefs"
    )
    refuse(monkeypatch, ValueError("Bad split: train. Available splits: ['test']"))
    assert failure("org/pairs") == "org/pairs: it has no split 'train', but test; name one of them (data.split)"


def test_subsets_are_told_with_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    message = (
        "Config name is missing.\nPlease pick one among the available configs: ['prefs', 'sft']\nExample of usage:"
    )
    calls = refuse(monkeypatch, ValueError(message))
    assert failure("org/pairs", "validation", "test") == (
        "org/pairs: it has several subsets: prefs, sft; name one: data.config: prefs"
    )
    assert calls == ["validation"], "no other split would be found either"
    refuse(monkeypatch, ValueError("BuilderConfig 'pref' not found. Available: ['prefs', 'sft']"))
    with pytest.raises(DataError) as caught:
        read_rows(Source("data.path[1]", "org/pairs", config="pref"))
    assert str(caught.value) == (
        "org/pairs: it has no subset 'pref', but prefs, sft; name one: data.path[1].config: prefs"
    )


def test_an_unreachable_hub_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = refuse(monkeypatch, ConnectionError("Couldn't reach 'org/pairs' on the Hub"))
    assert failure("org/pairs", "validation", "test") == (
        "org/pairs: there is no file or folder of that name, and it could not be loaded from the Hugging Face Hub "
        "(split 'validation' or 'test'): Couldn't reach 'org/pairs' on the Hub. Check the name, the split and the "
        "network (HF_HUB_OFFLINE), log in with `hf auth login` if it is gated, or give a local file"
    )
    assert calls == ["validation"]


def test_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    message = failure("org/pairs")
    assert message.startswith("org/pairs: there is no file or folder of that name")
    assert "offline" in message.lower().replace("hf_hub_offline", "")


def test_the_messages_are_those_of_datasets_itself(tmp_path: Path) -> None:
    """A local dataset repository is loaded as one of the hub is."""
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: prefs\n  data_files: a.jsonl\n- config_name: sft\n  data_files: a.jsonl\n---\n"
    )
    (tmp_path / "a.jsonl").write_text('{"a": "b"}\n')
    from prefd.daemon.worker.data.rows import hub

    found_errors = {}
    for name, config in (("missing", None), ("unknown", "pref"), ("split", "prefs")):
        with pytest.raises(ValueError, match=r".") as caught:
            datasets.load_dataset(str(tmp_path), config, split="tests", cache_dir=str(tmp_path / "cache"))
        found_errors[name] = caught.value
    assert hub._names(hub.CONFIGS, found_errors["missing"]) == ["prefs", "sft"]
    assert hub._names(hub.CONFIGS, found_errors["unknown"]) == ["prefs", "sft"]
    assert hub._names(hub.SPLITS, found_errors["split"]) == ["train"]
    assert not hub._names(hub.SPLITS, found_errors["unknown"])
