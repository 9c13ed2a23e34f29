"""Runs as MLflow's own client reads them back: after a whole run, and after one that was killed and went on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "mlflow", reason="the extra `mlflow` is not installed: 18 packages of 73 MB, which the usual tests do without"
)

from prefd.plugins.conformance.reporters import assert_reports
from prefd.plugins.reporters.mlflow import MLflow, MLflowReport
from prefd.plugins.reporting import LastSteps, RunEnd
from support.reported_runs import make_run, report_some, row

ROWS = [row(1), row(2), row(2, held_out=True), row(3), row(4), row(4, held_out=True)]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow's own client of the store that runs are reported to: files, which need no server here."""
    uri = f"file:{tmp_path / 'store'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def find_runs(client: Any) -> list[Any]:
    return list(client.search_runs([client.get_experiment_by_name("prefd").experiment_id]))


def read(client: Any, run: Any, name: str) -> list[tuple[int, float, int]]:
    history = client.get_metric_history(run.info.run_id, name)
    return [(each.step, each.value, each.timestamp) for each in history]


@pytest.mark.thorough
def test_a_killed_run_goes_on_without_a_step_twice_and_ends_with_spec_times_and_reason(
    client: Any, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "own", LastSteps(train=1))  # what prefd noted before the kill: less than was written
    report_some(MLflow(), run, *ROWS[:3])
    (killed,) = find_runs(client)
    assert [step for step, *_ in read(client, killed, "loss")] == [1, 2]
    again = report_some(MLflow(), run, *ROWS)
    assert isinstance(again, MLflowReport)
    again.close(RunEnd("done", "trained 4 steps"))
    (ended,) = find_runs(client)
    assert ended.info.run_id == killed.info.run_id
    assert ended.info.run_name == "ipo-abcdef"
    assert read(client, ended, "loss") == [(step, 1 / step, 1000 * (10**9 + step)) for step in (1, 2, 3, 4)]
    assert [step for step, *_ in read(client, ended, "eval_rewards/margins")] == [2, 4]
    assert ended.data.params["loss.beta"] == "0.3"
    assert ended.data.tags["prefd.end"] == "done: trained 4 steps"
    assert ended.info.status == "FINISHED"
    assert again.last_steps() == LastSteps(train=4, held_out=4)


@pytest.mark.thorough
def test_it_keeps_what_prefd_relies_on(client: Any, tmp_path: Path) -> None:
    assert_reports(MLflow(), tmp_path, "mlflow")
    (run,) = client.search_runs([client.get_experiment_by_name("prefd-check").experiment_id])
    assert run.info.status == "RUNNING"  # opened again after its end, as a retried job is


def test_without_an_address_it_says_which_variable_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match=r"MLFLOW_TRACKING_URI is not set .*http://localhost:5000"):
        MLflow().open(make_run(tmp_path / "own"))
