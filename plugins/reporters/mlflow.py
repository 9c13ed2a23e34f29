"""Reports to MLflow: to the server or the database that `MLFLOW_TRACKING_URI` names; the library's slim form, mlflow-skinny, will do."""

from __future__ import annotations

import os
import time
from typing import Any, ClassVar

from prefd.plugins.dotted_settings import flatten
from prefd.plugins.metrics import EVAL, EVAL_LOSS, LOSS
from prefd.plugins.reporting import LastSteps, MetricsRow, ReportedRun, RunEnd, RunReporter

URI = "MLFLOW_TRACKING_URI"
RUN_TAG = "prefd.run"
PARAMS_AT_ONCE = 100
"""MLflow takes no more in one call."""
LONGEST_PARAM = 500
"""Characters of a value that every version of MLflow's servers takes."""
STATUS = {"done": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}


class MLflow:
    """MLflow: a run in the experiment of the project's name, where `MLFLOW_TRACKING_URI` says.

    That is a server (`http://…`) or, where all of MLflow is installed, a database (`sqlite:////Users/me/mlflow.db`). The spec
    is the run's parameters, with dots: `loss.beta`.
    """

    library: ClassVar[str] = "mlflow"
    install: ClassVar[str] = "prefd[mlflow]"

    def open(self, run: ReportedRun) -> MLflowReport:
        """Begins the run, or goes on with the one that is tagged with its id. Raises ValueError where no address is set."""
        uri = os.environ.get(URI, "")
        if not uri:
            raise ValueError(
                f"{URI} is not set in the daemon's environment, and MLflow would write to whatever folder it runs in: set it "
                "to your server (http://localhost:5000) or database (sqlite:////Users/me/mlflow.db), or report to trackio"
            )
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # what a job does is nobody else's business
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        experiment = find_experiment(client, run.project)
        runs = client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run.id}'", max_results=1)
        if runs:
            identifier = runs[0].info.run_id
            client.update_run(identifier, status="RUNNING")
        else:
            identifier = begin_run(client, experiment, run)
        return MLflowReport(client, identifier, f"{uri}, experiment {run.project}, run {run.title}")


class MLflowReport:
    """MLflowReport is a run of MLflow."""

    def __init__(self, client: Any, identifier: str, place: str) -> None:
        self._client, self._run = client, identifier
        self.place = place

    def last_steps(self) -> LastSteps:
        """Asks MLflow for the last steps of both losses, which are the last numbers of a row that are written."""
        histories = [self._client.get_metric_history(self._run, name) for name in (LOSS, EVAL_LOSS)]
        return LastSteps(*(max((each.step for each in history), default=0) for history in histories))

    def log(self, row: MetricsRow) -> None:
        """Writes each metric of the row, at the time at which the row was written."""
        from mlflow.entities import Metric

        timestamp = int(1000 * (time.time() if row.time is None else row.time))
        names = sorted(row.metrics, key=lambda name: name.removeprefix(EVAL) == LOSS)
        metrics = [Metric(name, row.metrics[name], timestamp, row.step) for name in names]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self, end: RunEnd | None) -> None:
        """Ends the run with the job, the reason as a tag; one that goes on later stays open."""
        if end is None:
            return
        self._client.set_tag(self._run, "prefd.end", f"{end.state}: {end.reason}".removesuffix(": "))
        self._client.set_terminated(self._run, STATUS[end.state])


def find_experiment(client: Any, name: str) -> str:
    """Finds the experiment of this name, or makes it; another process may make it at the same moment."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    return str(experiment.experiment_id)


def begin_run(client: Any, experiment: str, run: ReportedRun) -> str:
    """Begins a run with its spec as parameters, and returns MLflow's id of it."""
    from mlflow.entities import Param

    tags = {RUN_TAG: run.id, "prefd.job": run.name, **({"prefd.group": run.group} if run.group else {})}
    identifier = str(client.create_run(experiment, tags=tags, run_name=run.title).info.run_id)
    params = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in flatten(run.spec)]
    for start in range(0, len(params), PARAMS_AT_ONCE):
        client.log_batch(identifier, params=params[start : start + PARAMS_AT_ONCE])
    return identifier


REPORTERS: dict[str, RunReporter] = {"mlflow": MLflow()}
