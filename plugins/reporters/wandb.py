"""Reports to Weights & Biases; offline where `WANDB_MODE=offline` says so, or nobody has logged in."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from prefd.plugins.reporting import MetricsRow, ReportedRun, RunEnd, RunReporter

log = logging.getLogger(__name__)


class WeightsAndBiases:
    """Weights & Biases: online where an API key is there, else files for `wandb sync`.

    The key is the one of `wandb login`, or `WANDB_API_KEY`; `WANDB_MODE` and `WANDB_ENTITY` are its own settings too. What is
    written offline is in the job's folder.
    """

    library: ClassVar[str] = "wandb"
    install: ClassVar[str] = "prefd[wandb]"

    def open(self, run: ReportedRun) -> WeightsAndBiasesReport:
        """Begins the run, or goes on with the one that has its id."""
        import wandb

        def begin(**mode: Any) -> Any:
            settings = wandb.Settings(console="off", silent=True, x_disable_stats=True, disable_git=True, **mode)
            return wandb.init(
                project=run.project,
                name=run.title,
                id=run.id,
                group=run.group or None,
                config=dict(run.spec),
                resume="allow",
                dir=run.folder,
                settings=settings,
            )

        try:
            opened = begin()
        except wandb.errors.UsageError as error:  # nobody has logged in, and there is no terminal to ask at
            log.warning("offline: %s", error)
            opened = begin(mode="offline")
        return WeightsAndBiasesReport(opened, run)


class WeightsAndBiasesReport:
    """WeightsAndBiasesReport is a run of Weights & Biases."""

    def __init__(self, opened: Any, run: ReportedRun) -> None:
        self._opened = opened
        self.place = opened.url or f"wandb sync {run.folder}/wandb/offline-run-*"

    def log(self, row: MetricsRow) -> None:
        """Hands the row over; the numbers of one step, trained and held out, become one row there."""
        self._opened.log(dict(row.metrics), step=row.step)

    def close(self, end: RunEnd | None) -> None:
        """Waits until all is written, or sent; the end of the job is in the summary. One that goes on later counts as crashed."""
        if end is not None:
            self._opened.summary["state"] = end.state
            self._opened.summary["reason"] = end.reason
        self._opened.finish(exit_code=0 if end is not None and end.state == "done" else 1)


REPORTERS: dict[str, RunReporter] = {"wandb": WeightsAndBiases()}
