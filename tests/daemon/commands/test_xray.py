"""`prefd xray`, as it is typed: eight pairs, three of them with a fault, of which the tiny model has scored all or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from support.homes import invoke
from support.jobs_on_disk import make_job, run_precompute
from support.sample_pairs import PAIRS

pytestmark = pytest.mark.usefixtures("answers_in_process", "known_bits")

SWAPPED = {"prompt": PAIRS[0]["prompt"], "chosen": PAIRS[0]["rejected"], "rejected": PAIRS[0]["chosen"]}
ALIKE = {
    "prompt": "Say it.",
    "chosen": "One two three four five six seven eight.",
    "rejected": "One two three four five six seven nine.",
}


@pytest.fixture
def spec(tmp_path: Path, tiny_model: Path) -> Path:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in [*PAIRS, PAIRS[1], SWAPPED, ALIKE]))
    path = tmp_path / "first.json"
    path.write_text(json.dumps(write_fields(tiny_model, pairs)))
    return path


def write_fields(model: Path, pairs: Path, **data: Any) -> dict[str, Any]:
    block = {"path": str(pairs), "validation": 0.0, "max_length": 128, **data}
    return {"name": "first", "model": str(model), "data": block, "loss": {"name": "sigmoid"}}


def read_findings(home: Path, spec: Path, *options: str) -> dict[str, Any]:
    result = invoke(Home(home), "xray", spec, "--json", *options)
    assert result.exit_code == Exit.OK, result.output
    findings: dict[str, Any] = json.loads(result.stdout)
    return findings


def test_faults_of_the_rows_are_found_without_a_home(home: Path, spec: Path) -> None:
    findings = read_findings(home, spec)
    by_kind = {finding["kind"]: finding for finding in findings["findings"]}
    assert [pair["place"] for pair in by_kind["duplicates"]["pairs"]] == ["pairs.jsonl:9"]
    assert by_kind["duplicates"]["pairs"][0]["why"] == "repeats pairs.jsonl:2"
    assert [pair["place"] for pair in by_kind["contradictions"]["pairs"]] == ["pairs.jsonl:1", "pairs.jsonl:10"]
    assert [pair["place"] for pair in by_kind["alike"]["pairs"]] == ["pairs.jsonl:11"]
    assert (by_kind["cut"]["total"], by_kind["suspects"]["total"]) == (0, 0)
    assert (findings["reference_view"], findings["missing"]) == (None, 18)
    assert any("--precompute-only" in note for note in findings["notes"])
    assert findings["sources"][0]["source"] == "pairs.jsonl"
    assert not home.exists()


def test_the_reference_is_read_from_the_cache(home: Path, spec: Path, tiny_model: Path, tmp_path: Path) -> None:
    running_job = make_job(home, **write_fields(tiny_model, tmp_path / "pairs.jsonl"))
    run_precompute(running_job)
    findings = read_findings(home, spec, "--limit", "0")
    assert findings["missing"] == 0
    sums = running_job.store.sums(
        [running_job.key(running_job.examples[8].chosen), running_job.key(running_job.examples[8].rejected)]
    )
    (duplicate,) = next(each for each in findings["findings"] if each["kind"] == "duplicates")["pairs"]
    assert duplicate["margin"] == pytest.approx(sums[0] - sums[1])
    assert sum(findings["reference_view"]["histogram"]["train"]) == 11


def test_an_exported_list_leaves_out_what_was_listed_and_keeps_the_first_of_repeats(
    home: Path, spec: Path, tiny_model: Path, tmp_path: Path
) -> None:
    exclude = tmp_path / "exclude.txt"
    result = invoke(Home(home), "xray", spec, "--only", "duplicates", "--only", "contradictions", "--export", exclude)
    assert result.exit_code == Exit.OK, result.output
    assert exclude.read_text().splitlines()[2].startswith("pairs.jsonl:9  # pairs.jsonl:9  duplicates: repeats")
    spec.write_text(json.dumps(write_fields(tiny_model, tmp_path / "pairs.jsonl", exclude=str(exclude))))
    findings = read_findings(home, spec)
    assert findings["pairs"] == 8
    assert sum(finding["total"] for finding in findings["findings"]) == 1  # the pair whose answers are alike
    assert "3 pairs left out (data.exclude)" in findings["data"]["lines"]


def test_it_is_shown_in_words_and_as_a_picture(home: Path, spec: Path, tmp_path: Path) -> None:
    result = invoke(Home(home), "xray", spec, "--plot", tmp_path / "pairs.png")
    assert result.exit_code == Exit.OK, result.output
    lines = result.stdout.splitlines()
    assert "1 pair repeat an earlier pair" not in lines
    assert "1 pair that repeats an earlier one" in lines
    assert "  pairs.jsonl:9  repeats pairs.jsonl:2" in lines
    assert (tmp_path / "pairs.png").read_bytes().startswith(b"\x89PNG")


def test_a_list_that_cannot_be_written_is_told(home: Path, spec: Path, tmp_path: Path) -> None:
    result = invoke(Home(home), "xray", spec, "--export", tmp_path / "none" / "exclude.txt")
    assert result.exit_code == Exit.FAILED
    assert "No such file or directory" in result.output
