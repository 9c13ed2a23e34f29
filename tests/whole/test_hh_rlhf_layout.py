"""Jobs on HH-RLHF as it lies on the hub: folders of gzipped transcripts, a split for training and one held out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer

from prefd.cache.store import ReferenceCache
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.notebook import ReferenceLogprobs
from prefd.daemon.worker.data.rows import DataError
from support import homes
from support.homes import invoke
from support.jobs_on_disk import make_job, run_precompute, run_training

pytestmark = pytest.mark.slow

QUESTIONS = ("Name a prime.", "Is water wet?", "What is two and two?", "Name a colour.")


def row(question: str, better: str, worse: str) -> dict[str, str]:
    prompt = f"\n\nHuman: {question}\n\nAssistant:"
    return {"chosen": f"{prompt} {better}", "rejected": f"{prompt} {worse}"}


@pytest.fixture
def hh(tmp_path: Path) -> Path:
    """Two subsets, a file that is no data, and a line in between that is blank."""
    root = tmp_path / "hh-rlhf"
    for subset in ("harmless-base", "helpful-base"):
        rows = [row(question, f"Yes, {subset}.", "No.") for question in QUESTIONS]
        rows[2]["rejected"] = rows[2]["chosen"]
        (root / subset).mkdir(parents=True)
        lines = "\n\n".join(map(json.dumps, rows))
        (root / subset / "train.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
        held_out = json.dumps(row("Is fire hot?", "Yes.", "No."))
        (root / subset / "test.jsonl.gz").write_bytes(gzip.compress(held_out.encode()))
    (root / "dataset_infos.json").write_text("{}")
    (root / ".gitattributes").write_text("*.gz filter=lfs")
    return root


def run(home: Home, folder: Path, model: Path, **data: Any) -> dict[str, Any]:
    spec = homes.write_spec(folder / "job.json", model, folder, data=data)
    result = invoke(home, "run", spec, "--json")
    assert result.exit_code == Exit.OK, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def scored(home: Home, model: Path, pairs: list[tuple[str, str]]) -> list[bool]:
    """Whether the reference's numbers of each (question, answer) are in the cache."""
    cache = ReferenceCache.open(home.cache)
    [stored_reference] = cache.references()
    logprobs = ReferenceLogprobs(cache, stored_reference.fingerprint).of_texts(pairs, load_tokenizer(model), 128)
    return [value is not None for value in logprobs]


@pytest.mark.thorough  # worker/data/ reads the layout, piece by piece
def test_one_subset_is_trained_on_and_its_test_split_held_out(
    home: Path, tmp_path: Path, tiny_model: Path, hh: Path
) -> None:
    there = Home(home)
    data = {"path": "hh-rlhf", "data_dir": "harmless-base", "validation_split": "test", "max_length": 128}
    document = run(there, tmp_path, tiny_model, **data)
    report = document["training"]["summary"]["data"]
    assert (report["source"], report["format"], report["rows"], report["used"]) == (str(hh), "hh", 4, 3)
    assert report["unusable"] == {"identical sides": {"count": 1, "rows": [3], "places": ["train.jsonl.gz:5"]}}
    assert report["notes"] == ["harmless-base: 1 of 2 files read; not read: test.jsonl.gz"]
    assert (report["validation"]["rows"], report["held_out"], report["validation"]["overlap"]) == (1, 1, 0)
    assert list(document["frozen"]["data"]) == [str(hh / "harmless-base" / f"{s}.jsonl.gz") for s in ("test", "train")]
    questions = [("Name a prime.", "Yes, harmless-base."), ("Name a prime.", "No."), ("Is fire hot?", "Yes.")]
    other = [("Name a prime.", "Yes, helpful-base."), ("Name", "a prime."), ("What is two and two?", "No.")]
    assert scored(there, tiny_model, questions + other) == [True] * 3 + [False] * 3

    shown = invoke(there, "show", 1).stdout
    assert f"{hh} (data_dir harmless-base)" in shown
    assert "held out: the split test" in shown
    assert "unusable: 1 × identical sides (train.jsonl.gz:5)" in shown
    assert "harmless-base: 1 of 2 files read; not read: test.jsonl.gz" in shown


def test_subsets_are_mixed_with_weights_and_the_cache_is_shared(
    home: Path, tmp_path: Path, tiny_model: Path, hh: Path
) -> None:
    whole = {"path": str(hh), "data_dir": "harmless-base"}
    part = {"path": str(hh / "helpful-base"), "weight": 0.5}
    common = {"validation_split": "test", "max_length": 128}
    run_precompute(make_job(home, model=str(tiny_model), data=whole | common))
    mixed = make_job(home, 2, model=str(tiny_model), data={"path": [whole, part]} | common, training={"iters": 2})
    rescored = run_precompute(mixed).summary.scored
    report = run_training(mixed).summary.data
    assert report is not None
    assert (report.rows, report.used, report.held_out, report.left_out) == (8, 5, 2, 1)
    assert report.unusable["identical sides"].places == [
        "hh-rlhf/train.jsonl.gz:5",
        "helpful-base/train.jsonl.gz:5",
    ]
    assert f"{hh / 'helpful-base'}: weight 0.5: 2 of its 3 pairs are used" in report.notes
    assert rescored == 2  # of the half: its answers; "No." is there already


def test_a_folder_of_unknown_splits_is_refused_with_the_setting(home: Path, tmp_path: Path, tiny_model: Path) -> None:
    for name in ("train_prefs", "train_sft"):
        (tmp_path / "uf").mkdir(exist_ok=True)
        (tmp_path / "uf" / f"{name}.jsonl").write_text(json.dumps(row("Q?", "a", "b")))
    with pytest.raises(DataError) as raised:
        run_precompute(make_job(home, model=str(tiny_model), data={"path": str(tmp_path / "uf")}))
    assert (
        "it holds train_prefs (train_prefs.jsonl), train_sft (train_sft.jsonl); name one: data.split: train_prefs"
    ) in " ".join(str(raised.value).split())
