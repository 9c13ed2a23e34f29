from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.run_folder import RunDir
from support import homes
from support.homes import invoke


@pytest.fixture
def ready_home(home: Path) -> Home:
    homes.add_done(Home(home))
    return Home(home)


def test_metrics_is_a_table_of_the_main_columns(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = invoke(ready_home, "metrics", 1)
    lines = result.stdout.splitlines()
    for word in ["accuracies", "margins", "chosen", "rejected", "norm", "tokens"]:
        assert word in "\n".join(lines[:2])
    assert lines[2].split() == [
        *["1", "0.0833", "0.6681", "0.5333", "0.0500"],
        *["-120.33", "-140.92", "1.5000", "5.00e-05", "63.20"],
    ]
    assert "held-out pairs" in lines
    assert len(lines) == 2 + 12 + 2 + 2 + 2
    assert max(map(len, lines)) <= 80
    assert "spread" in result.stderr, "a loss's own metrics are pointed at"


def test_ranks_have_columns_where_a_line_has_them(ready_home: Home) -> None:
    assert "ranks" not in invoke(ready_home, "metrics", 1).stdout
    rows = homes.metric_rows()
    for row in rows[2:]:
        row |= {"ranks": 2, "reduce_seconds": 0.25}
    homes.write_metrics(RunDir(ready_home.job(1)), rows)
    result = invoke(ready_home, "metrics", 1)
    assert result.stdout.splitlines()[1].split()[-2:] == ["seconds", "ranks"]
    assert [line.split()[-1] for line in result.stdout.splitlines()[2:6]] == ["-", "-", "2", "2"]
    assert "ranks" not in result.stderr


def test_the_parts_of_a_mixed_loss_are_shown(ready_home: Home) -> None:
    run = RunDir(ready_home.job(1))
    rows = homes.metric_rows()
    for row in rows:
        prefix = "eval_" if "eval_loss" in row else ""
        row |= {f"{prefix}loss/sigmoid": 0.5 * row[f"{prefix}loss"], f"{prefix}loss/sft": 2.25}
    homes.write_metrics(run, rows)
    result = invoke(ready_home, "metrics", 1, "--last", 1)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines.count(["step", "loss", "loss/sigmoid", "loss/sft"]) == 2
    assert ["12", "0.3931", "0.1966", "2.2500"] in lines
    assert ["parts", "of", "the", "loss,", "held-out", "pairs"] in lines
    assert "loss/" not in result.stderr
    assert "parts of the loss" not in invoke(ready_home, "metrics", homes.add_done(ready_home, name="plain").id).stdout

    outcome = run.outcome("training")
    assert outcome is not None
    summary = outcome.summary.model_copy(update={"first": rows[0], "last": rows[-2], "eval": rows[-1]})
    run.write_outcome("training", outcome.model_copy(update={"summary": summary}))
    shown = invoke(ready_home, "show", 1).stdout
    assert "loss/sft     2.2500 → 2.2500" in shown
    assert "loss 0.3931  loss/sigmoid 0.1966  loss/sft 2.2500  accuracy" in shown


def test_last_keeps_the_newest_rows(ready_home: Home) -> None:
    document = json.loads(invoke(ready_home, "metrics", 1, "--last", 2, "--json").stdout)
    assert [row["step"] for row in document["train"]] == [11, 12]
    assert [row["step"] for row in document["eval"]] == [6, 12]
    assert document["eval"][-1]["eval_rewards/accuracies"] == pytest.approx(0.9)


def test_a_line_cut_by_a_crash_is_passed_over(ready_home: Home) -> None:
    with (ready_home.job(1) / "metrics.jsonl").open("a") as file:
        file.write('{"step": 13, "loss": 0.')
    assert json.loads(invoke(ready_home, "metrics", 1, "--json").stdout)["train"][-1]["step"] == 12


def test_plot_writes_a_png(ready_home: Home, tmp_path: Path) -> None:
    result = invoke(ready_home, "metrics", 1, "--plot", tmp_path / "curves.png")
    assert result.exit_code == Exit.OK, result.output
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "curves.png" in result.stderr


def test_plot_where_it_cannot_be_written(ready_home: Home, tmp_path: Path) -> None:
    result = invoke(ready_home, "metrics", 1, "--plot", tmp_path / "nowhere" / "curves.png")
    assert result.exit_code == Exit.FAILED
    assert "nowhere" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_job_without_metrics_says_where_it_stands(ready_home: Home, tmp_path: Path) -> None:
    homes.add_queued(ready_home, name="waiting")
    result = invoke(ready_home, "metrics", 2)
    assert result.exit_code == Exit.OK
    assert "no metrics yet: it is queued" in result.stderr
    assert invoke(ready_home, "metrics", 2, "--plot", tmp_path / "x.png").exit_code == Exit.NOT_FOUND
    assert not (tmp_path / "x.png").exists()
