"""Reporting has jobs that train reported to the tools that their specs name, each job and tool by a process of its own.

No job waits for a report, and none fails of one: what goes wrong is logged once, and kept in the report's state, which
`prefd show` tells. A process follows its job over crashes and restarts of its worker, until the supervisor has let go of it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, ReportConfig
from prefd.daemon.jobs.job import Job
from prefd.daemon.queue.report_worker import Ending, report_in_worker
from prefd.daemon.runs.report_files import ReportFiles, ReportState
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.losses import Provision
from prefd.daemon.specs.reporter_faults import explain_reporter
from prefd.daemon.timing import USUAL, Timing
from prefd.daemon.worker_tasks.reports import JobEnd, ReportInput
from prefd.plugins.errors import describe_exception

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Running:
    """One report that runs: its task, and what tells it of the job's end."""

    task: asyncio.Task[None]
    ending: Ending


class Reporting:
    """Has jobs reported. `config`: gives the settings as they are in force."""

    def __init__(self, home: Home, config: Callable[[], Config], worker: Sequence[str], timing: Timing = USUAL) -> None:
        self.home = home
        self.config = config
        self.worker = worker
        self.timing = timing
        self._following: dict[int, dict[str, _Running]] = {}
        """By a job's number and a reporter's name, those of jobs that a supervisor has."""
        self._leaving: dict[int, set[_Running]] = {}
        """Those whose job has ended, or goes on later, and that write the rest."""

    def begin(self, job: Job, spec: JobSpec, run: RunDir, provision: Provision) -> None:
        """Have a job that begins to train reported, to what its spec names or else the settings; once until `end`."""
        settings = self.config().report
        names = settings.to if spec.report_to is None else spec.report_to
        following = self._following.setdefault(job.id, {})
        for name in dict.fromkeys(names):
            if name not in following:
                ending: Ending = asyncio.get_running_loop().create_future()
                report = self._report(job, ReportFiles(run, name), provision, settings, ending)
                following[name] = _Running(asyncio.create_task(report), ending)

    def end(self, job: Job) -> None:
        """Tell the reports of a job how it has ended, or that it goes on later; they write the rest meanwhile."""
        end = JobEnd(state=job.state, reason=job.reason) if job.ended else None  # type: ignore[arg-type]
        for running in self._following.pop(job.id, {}).values():
            running.ending.set_result(end)
            if not running.task.done():
                self._leaving.setdefault(job.id, set()).add(running)
                running.task.add_done_callback(functools.partial(self._forget, job.id, running))

    def _forget(self, job_id: int, running: _Running, _: asyncio.Task[None]) -> None:
        leaving = self._leaving.get(job_id, set())
        leaving.discard(running)
        if not leaving:
            self._leaving.pop(job_id, None)

    async def stop(self, job_id: int) -> None:
        """Kill the reports of a job: its folder is to be another run's, or to go."""
        running = [*self._following.pop(job_id, {}).values(), *self._leaving.pop(job_id, set())]
        for each in running:
            each.task.cancel()
        await asyncio.gather(*(each.task for each in running), return_exceptions=True)

    async def wait(self) -> None:
        """Wait until all reports of jobs that have ended are written, or have had their time."""
        await asyncio.gather(*(each.task for those in self._leaving.values() for each in those), return_exceptions=True)

    async def close(self) -> None:
        """Give all reports a little time to write the rest, and kill them then: the daemon stops."""
        for following in self._following.values():
            for running in following.values():
                running.ending.set_result(None)
        tasks = [
            each.task
            for those in (*(each.values() for each in self._following.values()), *self._leaving.values())
            for each in those
        ]
        if tasks:
            await asyncio.wait(tasks, timeout=self.timing.report_stop)
        for job_id in {*self._following, *self._leaving}:
            await self.stop(job_id)

    async def _report(
        self, job: Job, files: ReportFiles, provision: Provision, settings: ReportConfig, ending: Ending
    ) -> None:
        """Report a job to one tool; whatever happens is told in the log and in the report's state."""
        for earlier in list(self._leaving.get(job.id, ())):
            await asyncio.wait({earlier.task})
        request = ReportInput(job=job.id, to=files.to, project=settings.project, call_seconds=self.timing.report_call)
        try:
            if (
                reason := explain_reporter(files.to, provision.catalog)
            ) is not None:  # the settings name it, not the spec
                files.write(ReportState(files.to, job.ulid, error=reason))
            else:
                reason = await report_in_worker(
                    self.home, files, request, provision.settings, ending, self.worker, self.timing
                )
        except OSError as error:
            reason = str(error)
        except Exception as error:
            log.exception("job %d: its report to %s", job.id, files.to, extra={"job": job.id})
            reason = describe_exception(error)
        if reason is not None:
            message = "job %d is not reported to %s any more: %s; `prefd report %d --to %s` sends the rest"
            log.warning(message, job.id, files.to, reason, job.id, files.to, extra={"job": job.id})
