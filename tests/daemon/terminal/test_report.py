from __future__ import annotations

from pathlib import Path

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.details import JobDetails
from prefd.daemon.runs.data_summary import DataSummary
from prefd.daemon.runs.phase_outcomes import TrainingOutcome
from prefd.daemon.runs.phase_summaries import BestEvaluation, TrainingSummary
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.specs.summary import Fact
from prefd.daemon.terminal import report
from support import homes


def words(facts: list[Fact]) -> dict[str, str]:
    """Each name's first value."""
    return {name: str(value) for name, value in reversed(facts)}


def test_rows_are_told_in_the_words_of_the_data_report() -> None:
    assert DataSummary.model_validate(homes.REPORT).describe() == homes.REPORT["lines"]


def test_a_report_from_before_there_were_words_has_its_counts() -> None:
    assert DataSummary(used=120, held_out=6).describe() == ["120 used, 6 held out"]


def test_a_job_without_reference_has_its_rows_from_training(home: Path) -> None:
    there = Home(home)
    job = homes.add_running(there)
    run = RunDir(there.job(job.id))
    run.forget_outcome("precompute")
    summary = TrainingSummary(steps=1, data=DataSummary.model_validate(homes.REPORT))
    run.write_outcome("training", TrainingOutcome(ok=True, reason="", summary=summary))
    facts = report.job_facts(JobDetails.collect(job, None, [], run))
    assert words(facts)["rows"] == "/data/pairs.jsonl: 128 rows in format messages, 126 usable"
    assert [name for name, _ in facts].count("rows") == 1


def test_a_bare_summary_does_no_harm() -> None:
    assert report.phase_facts("training", TrainingOutcome(ok=True, reason=""), None) == [("training", "")]
    assert report.phase_facts("precompute", None, None) == []
    assert report.phase_line("training", TrainingOutcome(ok=False, reason="why"), 1.0) == "1.0s; failed"


def test_the_best_checkpoint_and_every_warning_are_shown(tmp_path: Path) -> None:
    checkpoint = str(tmp_path)
    best = BestEvaluation(metric="eval_loss", value=0.51234, step=30, checkpoint=checkpoint)
    summary = TrainingSummary(steps=40, best=best, warnings=["logps/chosen fell"])
    outcome = TrainingOutcome(ok=True, reason="", summary=summary)
    facts = report.phase_facts("training", outcome, None)
    assert ("best", f"eval_loss 0.5123 at step 30: {checkpoint}") in facts
    assert report.best_facts(best.model_copy(update={"checkpoint": "/gone/step-00000030"})) == [
        ("best", "eval_loss 0.5123 at step 30: /gone/step-00000030, which is gone")
    ]
    assert facts[-1] == ("warning", "logps/chosen fell")
    assert "fell" not in report.phase_line("training", outcome, None)


def test_a_done_job_names_each_folder_that_it_left(home: Path) -> None:
    there = Home(home)
    job = homes.add_done(there)
    run = RunDir(there.job(job.id))
    run.fused.mkdir()
    details = JobDetails.collect(job, None, [], run)
    named = words(report.job_facts(details))
    assert (named["adapter"], named["fused"]) == (str(run.adapter), str(run.fused))
    assert "peft" not in named
    document = details.to_json()
    assert (document["fused"], document["peft"]) == (str(run.fused), None)
