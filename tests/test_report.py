from __future__ import annotations

from pathlib import Path

import homes

from prefd.daemon import report
from prefd.daemon.home import Home
from prefd.daemon.rundir import Outcome, RunDir


def words(facts: list[report.Fact]) -> dict[str, str]:
    """Each name's first value."""
    return {name: str(value) for name, value in reversed(facts)}


def test_data_lines_name_rows_by_reason() -> None:
    unusable = {"empty completion": {"count": 1, "rows": [7]}, "identical sides": {"count": 12, "rows": [1, 2, 3]}}
    held_out = {"rows": 9, "format": "hh", "truncated": 0, "boundary": 0, "unusable": {}, "overlap": 2}
    data = homes.REPORT | {"unusable": unusable, "boundary": 4, "validation": held_out}
    assert report.data_lines(data) == [
        "128 rows (messages): 120 used, 6 held out, 3 truncated, 4 tokenized apart, 13 unusable",
        "  empty completion: 1 (row 7)",
        "  identical sides: 12 (rows 1, 2, 3, …)",
        "9 rows (hh): 2 with a prompt that is trained on too",
    ]
    assert report.data_lines({}) == []


def test_data_lines_end_with_what_else_there_is_to_know() -> None:
    notes = ["the chat template prints the date; prompts are rendered as of 2024-07-26 (data.date)"]
    assert report.data_lines(homes.REPORT | {"notes": notes})[-1] == f"  {notes[0]}"


def test_a_job_without_reference_has_its_rows_from_training(home: Path) -> None:
    there = Home(home)
    job = homes.add_running(there)
    run = RunDir(there.job(job.id))
    run.forget_outcome("precompute")
    run.write_outcome("training", Outcome(True, "", {"steps": 1, "data": homes.REPORT}))
    facts = report.job_facts(job, None, [], run)
    assert words(facts)["rows"].startswith("128 rows (messages)")
    assert [name for name, _ in facts].count("rows") == 1


def test_a_bare_summary_does_no_harm() -> None:
    assert report.phase_facts("training", Outcome(True, "", {}), None) == [("training", "")]
    assert report.phase_facts("precompute", None, None) == []
    assert report.phase_line("training", Outcome(False, "why", {}), 1.0) == "1.0s; failed"


def test_the_best_checkpoint_and_every_warning_are_shown() -> None:
    best = {"metric": "eval_loss", "value": 0.51234, "step": 30, "checkpoint": "/runs/1/checkpoints/step-00000030"}
    summary = {"steps": 40, "best": best, "warnings": ["logps/chosen fell"]}
    facts = report.phase_facts("training", Outcome(True, "", summary), None)
    assert ("best", "eval_loss 0.5123 at step 30: /runs/1/checkpoints/step-00000030") in facts
    assert facts[-1] == ("warning", "logps/chosen fell")
    assert "fell" not in report.phase_line("training", Outcome(True, "", summary), None)


def test_a_done_job_names_each_folder_that_it_left(home: Path) -> None:
    there = Home(home)
    job = homes.add_done(there)
    run = RunDir(there.job(job.id))
    run.fused.mkdir()
    named = words(report.job_facts(job, None, [], run))
    assert (named["adapter"], named["fused"]) == (str(run.adapter), str(run.fused))
    assert "peft" not in named
    document = report.job_document(job, None, [], run)
    assert (document["fused"], document["peft"]) == (str(run.fused), None)
