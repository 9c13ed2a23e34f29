"""Which pairs a job's report says to doubt: with the reference's scores after its pass, by the rows alone before a training without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.runs.xray_summary import XRaySummary
from prefd.daemon.terminal.report import xray_facts
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.training.train import examine_unexamined
from prefd.daemon.worker.xray.examination import Examination
from prefd.daemon.worker.xray.report import summarize_doubts
from support.jobs_on_disk import make_job, run_precompute
from support.sample_pairs import PAIRS

SWAPPED = {"prompt": PAIRS[0]["prompt"], "chosen": PAIRS[0]["rejected"], "rejected": PAIRS[0]["chosen"]}


def make_faulty_job(home: Path, model: Path, loss: str, rows: list[dict[str, Any]]) -> RunningJob:
    home.mkdir(parents=True, exist_ok=True)
    path = home / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"path": str(path), "validation": 0.0, "max_length": 128}
    return make_job(home, model=str(model), data=data, loss={"name": loss}, training={"iters": 1})


def test_the_reference_pass_ends_with_the_pairs_to_doubt(home: Path, tiny_model: Path) -> None:
    job = make_faulty_job(home, tiny_model, "sigmoid", [*PAIRS, PAIRS[1], SWAPPED])
    outcome = run_precompute(job)
    xray = outcome.summary.xray
    assert xray is not None
    assert (xray.pairs, xray.found["contradictions"], xray.found["duplicates"]) == (10, 2, 1)
    assert xray.first == ["pairs.jsonl:1", "pairs.jsonl:10"]
    assert xray.reference_accuracy is not None
    job.run.write_outcome("precompute", outcome)
    assert examine_unexamined(job) is None  # it is said once
    (name, line), (_, accuracies) = xray_facts(None, xray)
    assert name == "xray"
    assert "contradictions 2, duplicates 1, " in str(line)
    assert str(line).endswith("of 10 pairs; look first at pairs.jsonl:1, pairs.jsonl:10")
    assert "by the reference" in str(accuracies)


def test_a_training_without_a_reference_examines_the_rows_and_reads_no_weights(home: Path, tiny_model: Path) -> None:
    job = make_faulty_job(home, tiny_model, "cpo", [*PAIRS, SWAPPED])
    xray = examine_unexamined(job)
    assert xray is not None
    assert (xray.found["contradictions"], xray.reference_accuracy) == (2, None)
    assert "fingerprint" not in job.__dict__


def test_single_answers_have_no_pairs_to_doubt(home: Path, tiny_model: Path) -> None:
    rows = [{"prompt": row["prompt"], "completion": row["chosen"], "label": True} for row in PAIRS]
    assert examine_unexamined(make_faulty_job(home, tiny_model, "kto", rows)) is None


def test_what_cannot_be_examined_is_told_and_fails_nothing(
    home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_faulty_job(home, tiny_model, "cpo", PAIRS)

    def break_down(self: Examination, kind: str) -> dict[int, str]:
        raise ZeroDivisionError("no pair is that long")

    monkeypatch.setattr(Examination, "find", break_down)
    broken = summarize_doubts(job, rows_alone=True)
    assert broken is not None
    assert broken.describe() == ["the pairs cannot be examined: ZeroDivisionError: no pair is that long"]
    many = summarize_doubts(job, rows_alone=True, most_pairs=len(PAIRS) - 1)
    assert many is not None
    assert many.fault.startswith("more than 7 pairs are not examined by themselves: `prefd xray`")


def test_pairs_without_a_fault_are_said_to_have_none() -> None:
    summary = XRaySummary(pairs=1, found={"cut": 0, "alike": 0}, longer_accuracy=1.0)
    assert summary.describe() == ["nothing to doubt, of 1 pair", "labels told right: 100% by the longer answer"]
