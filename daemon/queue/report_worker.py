"""Runs the process that reports one job to one tool, until the job has ended and the tool has all of it, or has had its time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.cpus import NICE
from prefd.daemon.machine.interpreter import WORKER
from prefd.daemon.machine.processes import signal_group
from prefd.daemon.queue.side_worker import NoSideWorker, describe_silent_end, read_error, start_side_worker
from prefd.daemon.runs.report_files import ReportFiles, ReportState
from prefd.daemon.timing import USUAL, Timing
from prefd.daemon.worker_tasks.reports import JobEnd, ReportInput

LAST = "19"
"""A job that trains on these cores goes first."""
Ending = asyncio.Future[JobEnd | None]
"""Has the job's end as its result when there is one, and None when the job goes on later."""


async def report_in_worker(
    home: Home,
    files: ReportFiles,
    request: ReportInput,
    settings: HandedSettings,
    ending: Ending,
    worker: Sequence[str] = WORKER,
    timing: Timing = USUAL,
) -> str | None:
    """Have a worker report a job until `ending` is done, and wait for it. Returns why it failed, None where it did not.

    When the task is cancelled, the worker is killed. Raises OSError where nothing can be written.
    """
    files.root.mkdir(parents=True, exist_ok=True)
    try:
        with files.log.open("ab") as log:
            since = log.tell()
            environment = {NICE: LAST} | settings.environment()
            process = await start_side_worker(worker, "report", home, request.job, log, environment)
    except NoSideWorker as error:
        return str(error)
    except OSError as error:
        return f"{files.log} cannot be written: {error.strerror or error}"
    assert process.stdin is not None
    assert process.stdout is not None
    answer, exited = asyncio.ensure_future(process.stdout.read()), asyncio.ensure_future(process.wait())
    late = False
    try:
        process.stdin.write(request.model_dump_json().encode() + b"\n")
        first: list[asyncio.Future[Any]] = [exited, ending]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            late = not await _end(process.stdin, exited, ending.result(), timing)
    finally:
        signal_group(
            process.pid, signal.SIGKILL
        )  # all of it where it is late or not wanted, else what it has left behind
        output, _ = await asyncio.gather(answer, exited)
    if late and ending.result() is not None:
        return _note_error(
            files, f"it has not written the rest within {timing.report_end:g} s of the job's end, and was ended"
        )
    return _explain_failure(files, process.returncode or 0, output, since, late)


async def _end(messages: asyncio.StreamWriter, exited: asyncio.Future[int], end: JobEnd | None, timing: Timing) -> bool:
    """Tell the worker how the job has ended, and say whether it ends in time."""
    with suppress(OSError):
        if end is not None:
            messages.write(end.to_line())
        messages.close()
    await asyncio.wait({exited}, timeout=timing.report_stop if end is None else timing.report_end)
    return exited.done()


def _explain_failure(files: ReportFiles, code: int, output: bytes, since: int, late: bool) -> str | None:
    """Say why the worker failed, and have the report's state say so too."""
    if code == 0 or late:
        return None
    if (error := read_error(output)) is not None:
        return _note_error(files, error)
    if (state := files.read()) is not None and state.error:
        return state.error
    return _note_error(files, describe_silent_end(code, files.log, since))


def _note_error(files: ReportFiles, reason: str) -> str:
    state = files.read() or ReportState(files.to, files.run.job)
    with suppress(OSError):  # the folder may be gone: then nobody reads it there
        files.write(replace(state, error=reason))
    return reason
