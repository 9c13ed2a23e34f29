from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.commands.compare import gather_jobs, label_jobs
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.run_folder import RunDir
from support import homes
from support.homes import invoke


def add(home: Home, accuracy: float, eval_loss: float, **changes: Any) -> int:
    """A done job whose last evaluation came to these numbers."""
    job = homes.add_done(home, **changes)
    run = RunDir(home.job(job.id))
    rows = homes.metric_rows()
    rows[-1] |= {"eval_rewards/accuracies": accuracy, "eval_loss": eval_loss}
    homes.write_metrics(run, rows)
    return job.id


@pytest.fixture
def ready_home(home: Path) -> Home:
    """Jobs 1 and 2 differ in the learning rate, job 3 in the loss."""
    there = Home(home)
    add(there, 0.75, 0.5, name="slow", training={"learning_rate": 1e-5})
    add(there, 0.875, 0.4, name="fast", training={"learning_rate": 5e-5})
    add(there, 0.625, 0.1, name="other", loss={"name": "sigmoid"}, training={"learning_rate": 5e-5})
    return there


def rows_of(output: str) -> dict[str, list[str]]:
    """The table by the names of its rows; a job's cells hold no spaces here."""
    split = [line.split() for line in output.splitlines()[1:]]
    jobs = len(output.splitlines()[0].split())
    return {" ".join(cells[:-jobs]): cells[-jobs:] for cells in split}


def test_jobs_stand_side_by_side_with_the_settings_that_differ(ready_home: Home) -> None:
    result = invoke(ready_home, "compare", 1, 2)
    assert result.exit_code == Exit.OK, result.output
    assert result.stdout.splitlines()[0].split() == ["1", "2"]
    table = rows_of(result.stdout)
    assert table["name"] == ["slow", "fast"]
    assert table["loss"] == ["ipo", "ipo"]
    assert table["training.learning_rate"] == ["1e-05", "5e-05"]
    assert table["steps"] == ["12", "12"]
    assert table["eval_rewards/accuracies"] == ["0.7500", "*0.8750"]
    assert table["eval_loss"] == ["0.5000", "*0.4000"]
    assert table["eval_rewards/chosen"] == ["0.2000", "0.2000"]
    assert table["eval_logps/rejected"] == ["-148.25", "-148.25"]
    assert table["seconds of training"] == ["48.20", "48.20"]
    assert table["peak memory, GB"] == ["2.1000", "2.1000"]
    assert not {"loss.beta", "model", "training.batch_size"} & table.keys(), "what is the same is not shown"
    assert result.stderr == ""


def test_a_loss_is_not_compared_with_another_one(ready_home: Home) -> None:
    result = invoke(ready_home, "compare", 1, 2, 3)
    table = rows_of(result.stdout)
    assert table["loss"] == ["ipo", "ipo", "sigmoid"]
    assert table["loss.beta"] == ["0.1", "0.1", "-"]
    assert table["eval_loss"] == ["0.5000", "0.4000", "0.1000"]
    assert table["eval_rewards/accuracies"] == ["0.7500", "*0.8750", "0.6250"]
    assert "eval_loss and eval_rewards/margins are comparable only between jobs of the same loss" in result.stderr


def test_evaluations_on_other_pairs_are_not_compared(ready_home: Home) -> None:
    add(ready_home, 1.0, 0.1, name="short", data={"path": "/data/others.jsonl"})
    result = invoke(ready_home, "compare", 1, 4)
    table = rows_of(result.stdout)
    assert table["data.path"] == ["pairs.jsonl", "others.jsonl"]
    assert table["eval_rewards/accuracies"] == ["0.7500", "1.0000"]
    assert "held-out pairs differ" in result.stderr


def test_no_job_is_lost_for_want_of_numbers(ready_home: Home) -> None:
    homes.add_queued(ready_home, name="next")
    homes.add_failed(ready_home, name="broken")
    homes.add_running(ready_home, name="going")
    homes.add_queued(ready_home, name="filler", training=None)
    result = invoke(ready_home, "compare", 2, 4, 5, 6, 7)
    assert result.exit_code == Exit.OK
    table = rows_of(result.stdout)
    assert table["state"] == ["done", "queued", "failed", "training", "queued"]
    assert table["steps"] == ["12", "-", "-", "4", "-"]
    assert table["eval_loss"] == ["0.4000", "-", "-", "-", "-"]
    assert "training.learning_rate" not in table, "a job that trains nothing has no settings to differ by"
    for line in [
        "job 4 (next) has trained no step: it is queued",
        "job 5 (broken) has trained no step: it is failed",
        "job 6 (going) has no evaluation yet",
        "job 7 (filler) trains nothing: it only fills the cache",
    ]:
        assert line in result.stderr


def test_a_job_that_holds_no_pairs_out_says_so(ready_home: Home) -> None:
    homes.add_running(ready_home, data={"path": "/data/pairs.jsonl", "validation": 0.0}, name="all-in")
    assert "job 4 (all-in) has no evaluation: it holds no pairs out" in invoke(ready_home, "compare", 4).stderr


def test_json_holds_every_number(ready_home: Home) -> None:
    document = json.loads(invoke(ready_home, "compare", 1, 2, 2, "--json").stdout)
    first, second = document["jobs"]
    assert first["settings"] == {"training.learning_rate": 1e-5}
    assert first["evaluated_at_step"] == 12
    assert second["eval_rewards/accuracies"] == 0.875
    assert second["peak_memory_gb"] == 2.1
    assert document["best"] == {"eval_loss": [2], "eval_rewards/accuracies": [2]}
    assert document["differing"] == ["training.learning_rate"]
    assert document["notes"] == []


def test_the_evaluation_is_that_of_the_adapter_a_job_has_left(ready_home: Home) -> None:
    number = add(ready_home, 0.6, 0.9, name="overfitted", training={"load_best_model_at_end": True, "save_every": 6})
    run = RunDir(ready_home.job(number))
    outcome = run.outcome("training")
    assert outcome is not None
    summary = outcome.summary.model_copy(update={"adapter_step": 6})
    run.write_outcome("training", outcome.model_copy(update={"summary": summary}))
    result = invoke(ready_home, "compare", 1, number)
    table = rows_of(result.stdout)
    at_six = next(row for row in homes.metric_rows() if row["step"] == 6 and "eval_loss" in row)
    assert table["eval_loss"][1].lstrip("*") == f"{at_six['eval_loss']:.4f}"
    assert table["steps"] == ["12", "12"]
    assert f"job {number} (overfitted) left the adapter of step 6, its best" in result.stderr
    assert json.loads(invoke(ready_home, "compare", number, "--json").stdout)["jobs"][0]["evaluated_at_step"] == 6


def test_a_job_that_is_not_there_is_named(ready_home: Home) -> None:
    result = invoke(ready_home, "compare", 1, 99)
    assert result.exit_code == Exit.NOT_FOUND
    assert "99" in result.stderr
    assert result.stdout == ""


def test_plot_draws_the_metrics_that_are_asked_for(ready_home: Home, tmp_path: Path) -> None:
    for number, options in enumerate(
        [(), ("--metric", "loss", "--metric", "eval_rewards/margins", "--metric", "spread")]
    ):
        result = invoke(ready_home, "compare", 1, 2, 3, "--plot", tmp_path / f"{number}.png", *options)
        assert result.exit_code == Exit.OK, result.output
        assert f"{number}.png" in result.stderr
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")


def test_plot_of_what_is_not_recorded_says_what_is(ready_home: Home, tmp_path: Path) -> None:
    homes.add_queued(ready_home)
    png = tmp_path / "x.png"
    wrong = invoke(ready_home, "compare", 1, "--plot", png, "--metric", "accuracy")
    assert wrong.exit_code == Exit.NOT_FOUND
    assert "rewards/accuracies" in wrong.stderr
    assert invoke(ready_home, "compare", 4, "--plot", png).exit_code == Exit.NOT_FOUND
    assert invoke(ready_home, "compare", 1, "--metric", "loss").exit_code == Exit.USAGE
    assert not png.exists()


def test_a_legend_tells_the_jobs_of_a_sweep_apart(ready_home: Home) -> None:
    jobs = gather_jobs(ready_home, [1, 2, 3], with_rows=False)
    assert label_jobs(jobs[:2]) == ["1  slow · ipo · learning_rate 1e-05", "2  fast · ipo · learning_rate 5e-05"]
    assert label_jobs(jobs[2:]) == ["3  other · sigmoid"]
    assert len(set(label_jobs(jobs))) == 3


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_job_and_no_digit_is_lost_in_a_narrow_terminal(
    ready_home: Home, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4, 10):
        homes.add_queued(
            ready_home, name=f"a-rather-long-name-of-job-{number}", loss={"name": "ipo", "beta": number / 7}
        )
    whole = rows_of(invoke(ready_home, "compare", *range(1, 10)).stdout)
    monkeypatch.setenv("COLUMNS", str(width))
    output = invoke(ready_home, "compare", *range(1, 10)).stdout
    assert max(map(len, output.splitlines())) <= width
    blocks = [rows_of(block) for block in output.split("\n\n")]
    assert {name: [cell for block in blocks for cell in block[name]] for name in whole} == whole
