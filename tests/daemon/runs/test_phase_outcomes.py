"""What a phase leaves is read whole by the version that wrote it, and as far as it goes by any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefd.daemon.runs.phase_outcomes import PrecomputeOutcome, TrainingOutcome
from prefd.daemon.runs.phase_summaries import FusedCheck, TrainingSummary
from prefd.daemon.runs.phases import Phase
from prefd.daemon.runs.run_folder import RunDir
from support import homes


def write(run: RunDir, phase: Phase, document: object) -> None:
    (run.root / f"{phase}.json").write_text(json.dumps(document))


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    outcome = homes.precompute_outcome()
    run.write_outcome("precompute", outcome)
    assert run.outcome("precompute") == outcome
    assert json.loads((tmp_path / "precompute.json").read_text()) == outcome.to_json()
    assert run.outcome("training") is None


def test_a_failed_phase_has_no_numbers(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.write_outcome("training", TrainingOutcome(ok=False, reason="no GPU"))
    assert json.loads((tmp_path / "training.json").read_text()) == {"ok": False, "reason": "no GPU", "summary": {}}
    assert run.outcome("training") == TrainingOutcome(ok=False, reason="no GPU")


def test_a_summary_of_an_earlier_version_has_defaults_for_what_it_lacks(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    document = {"ok": True, "reason": "", "summary": {"steps": 4, "data": {"used": 120, "held_out": 6}}}
    write(run, "training", document)
    outcome = run.outcome("training")
    assert outcome is not None
    assert (outcome.summary.steps, outcome.summary.adapter_step, outcome.summary.warnings) == (4, None, ())
    assert outcome.summary.data is not None
    assert outcome.summary.data.describe() == ["120 used, 6 held out"]
    assert outcome.to_json() == document, "no default is told as if it had been measured"


def test_what_a_later_version_adds_is_passed_over_and_kept(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    summary = {"steps": 4, "data": {"used": 1, "languages": ["en"]}, "watts": 3.5}
    write(run, "training", {"ok": True, "reason": "", "summary": summary, "signature": "x"})
    outcome = run.outcome("training")
    assert outcome is not None
    assert outcome.summary.steps == 4
    assert outcome.to_json()["summary"] == summary


@pytest.mark.parametrize("summary", [{"steps": "many"}, {"data": [1]}, None, []], ids=str)
def test_a_summary_that_cannot_be_read_hides_no_end(tmp_path: Path, summary: object) -> None:
    run = RunDir(tmp_path)
    write(run, "training", {"ok": True, "reason": "trained 4 steps", "summary": summary})
    assert run.outcome("training") == TrainingOutcome(ok=True, reason="trained 4 steps")


@pytest.mark.parametrize("document", [{}, {"ok": True}, {"ok": "perhaps", "reason": ""}, [], 3, None], ids=str)
def test_a_file_that_does_not_say_how_it_ended_is_no_outcome(tmp_path: Path, document: object) -> None:
    run = RunDir(tmp_path)
    write(run, "precompute", document)
    assert run.outcome("precompute") is None


def test_numbers_stay_as_they_were_written(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    row = {"step": 12, "epoch": 1, "loss": 0.5, "rewards/margins": None}
    run.write_outcome("training", TrainingOutcome(ok=True, reason="", summary=TrainingSummary(steps=12, last=row)))
    outcome = run.outcome("training")
    assert outcome is not None
    assert json.dumps(outcome.to_json()["summary"]["last"]) == json.dumps(row), "12 is not 12.0"


def test_warnings_come_before_those_there_are() -> None:
    check = FusedCheck(lost=0.1)
    outcome = TrainingOutcome(ok=True, reason="", summary=TrainingSummary(warnings=["b"], fused_check=check))
    summary = outcome.with_warnings(["a"]).summary
    assert (summary.warnings, summary.fused_check) == (["a", "b"], check)


def test_a_phase_that_gave_no_reason_is_told_by_its_line() -> None:
    assert homes.precompute_outcome().describe() == "reference: 212 of 252 completions scored"
    assert PrecomputeOutcome(ok=True, reason="done").describe() == "done"
