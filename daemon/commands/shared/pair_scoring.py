"""Has the pairs of a job scored, for the commands that show them: by the daemon in its turn, or where none runs, here and now."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Self

from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.home import lock
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render
from prefd.daemon.timing import Timing

if TYPE_CHECKING:
    from prefd.daemon.jobs.table import Job
    from prefd.daemon.runs.pair_answers import PairsState
    from prefd.daemon.runs.pair_files import PairFiles


def have_pairs_scored(home: Home, job: Job, files: PairFiles, timing: Timing) -> None:
    """Have the pairs of `job` scored, and wait for it. Raises `Failure` with why that cannot be."""
    from prefd.daemon.queue.pair_scoring import require_trained

    require_trained(job, files.run)
    if not lock.is_held(home):
        asyncio.run(_score_here(home, job, files, timing))
        return
    from prefd.daemon.control.client import Client

    head = files.read_head()
    with _ProgressView(timing) as view:
        state = Client(home).score_pairs(job.id)
        while state.state in ("waiting", "scoring"):
            view.show(state)
            time.sleep(timing.job_look)
            state = files.read_state(job.id)
    if state.state == "failed":
        raise Failure(state.reason, Exit.JOB_FAILED)
    after = files.read_head()
    if after is None or (head is not None and after.scored_at == head.scored_at):
        raise Failure(f"the pairs of job {job.id} were not scored: the daemon has ended, or its folder was taken away")


async def _score_here(home: Home, job: Job, files: PairFiles, timing: Timing) -> None:
    """Score the pairs in a worker of this process, which ends with it."""
    from prefd.daemon.home.handed_settings import HandedSettings
    from prefd.daemon.home.settings import Config
    from prefd.daemon.queue.pair_worker import score_in_worker
    from prefd.daemon.specs.catalog_listing import load_catalog

    config = Config.load(home)
    settings = HandedSettings.from_config(config, home, load_catalog(home).failures)
    scoring = asyncio.ensure_future(score_in_worker(home, job.id, files, settings, config.worker, timing=timing))
    with _ProgressView(timing) as view:
        while not scoring.done():
            view.show(files.read_state(job.id))
            await asyncio.wait({scoring}, timeout=timing.job_look)
    if (reason := scoring.result()) is not None:
        raise Failure(reason, Exit.JOB_FAILED)


class _ProgressView:
    """Draws how far the scoring is where there is a terminal, and writes a line now and then where there is none."""

    def __init__(self, timing: Timing) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("scoring pairs"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)
        self._timing = timing
        self._reason = ""
        self._written_at = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, state: PairsState) -> None:
        """Show how the scoring stands."""
        if state.state == "waiting" and state.reason != self._reason:
            self._reason = state.reason
            render.print_note(f"waits for {state.reason}")
        progress = state.progress
        if progress is None:
            return
        self._bar.update(self._task, completed=progress.done, total=progress.total)
        if self._bar.disable and time.monotonic() - self._written_at >= self._timing.progress_line:
            self._written_at = time.monotonic()
            render.print_note(f"scored {progress.done:,} of {progress.total:,} pairs")
