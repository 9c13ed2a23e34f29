"""Reports to trackio: a local dashboard, or a Space where `TRACKIO_SPACE_ID` names one."""

from __future__ import annotations

from typing import Any, ClassVar

from prefd.plugins.reporting import LastSteps, MetricsRow, ReportedRun, RunEnd, RunReporter


class Trackio:
    """trackio: a database on this machine, which `trackio show` makes a page of.

    It lies where trackio keeps its own (`TRACKIO_DIR`). With `TRACKIO_SPACE_ID` or `TRACKIO_SERVER_URL` in the daemon's
    environment the run goes there.
    """

    library: ClassVar[str] = "trackio"
    install: ClassVar[str] = "prefd[trackio]"

    def open(self, run: ReportedRun) -> TrackioReport:
        """Begins the run, or goes on with the one of the same title."""
        import trackio

        opened = trackio.init(
            project=run.project,
            name=run.title,
            group=run.group or None,
            config={"run": run.id, **run.spec},
            resume="allow",
            embed=False,
            auto_log_cpu=False,  # of this process, which trains nothing
            auto_log_gpu=False,
        )
        return TrackioReport(opened, run)


class TrackioReport:
    """TrackioReport is a run of trackio."""

    def __init__(self, opened: Any, run: ReportedRun) -> None:
        self._opened, self._run = opened, run
        self._step = 0
        self.place = f"trackio show --project {run.project}"

    def last_steps(self) -> LastSteps | None:
        """Reads the last steps from trackio's database; None where the run is on another machine."""
        from trackio.sqlite_storage import SQLiteStorage

        if not getattr(self._opened, "_is_local", True):
            return None
        last = LastSteps()
        for line in SQLiteStorage.get_logs(self._run.project, self._run.title):
            last = last.after(MetricsRow(line["step"], dict.fromkeys(line, 0.0)))
        self._step = max(last)
        return last

    def log(self, row: MetricsRow) -> None:
        """Hands the row to trackio, which writes it within a second."""
        self._opened.log(dict(row.metrics), step=row.step)
        self._step = max(self._step, row.step)

    def close(self, end: RunEnd | None) -> None:
        """Waits until trackio has written all rows; the end of the job is an alert."""
        if end is not None:
            import trackio

            level = trackio.AlertLevel.INFO if end.state == "done" else trackio.AlertLevel.ERROR
            self._opened.alert(title=end.state, text=end.reason or None, level=level, step=self._step)
        self._opened.finish()


REPORTERS: dict[str, RunReporter] = {"trackio": Trackio()}
