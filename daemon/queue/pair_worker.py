"""Runs the worker that scores a job's pairs: one at a time for a job, within the limits of any worker, and killed when it is not wanted.

Nothing is lost with it: the table is written at its end, whole or not at all.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Sequence

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.machine.interpreter import WORKER
from prefd.daemon.machine.processes import signal_group
from prefd.daemon.queue.memory_watch import MemoryWatch
from prefd.daemon.queue.side_worker import NoSideWorker, describe_silent_end, read_error, start_side_worker
from prefd.daemon.queue.wakefulness import keep_awake
from prefd.daemon.queue.worker_process import lock_worker
from prefd.daemon.runs.pair_files import PairFiles
from prefd.daemon.runs.worker_log import read_tail
from prefd.daemon.text.sizes import format_size
from prefd.daemon.timing import USUAL, Timing
from prefd.daemon.worker_tasks.inputs import PairScoringInput


async def score_in_worker(
    home: Home,
    job_id: int,
    files: PairFiles,
    settings: HandedSettings,
    limits: WorkerLimits,
    worker: Sequence[str] = WORKER,
    timing: Timing = USUAL,
) -> str | None:
    """Have a worker score the pairs of a job, and write down how that stands. Returns why it failed, None where it did not.

    When the task is cancelled, the worker is killed, and no state is left. Raises OSError where nothing can be written.
    """
    files.write_state("scoring")
    reason = None
    try:
        reason = await _run_worker(home, job_id, files, settings, limits, worker, timing)
    finally:
        files.forget_state()
        if reason is not None:
            files.write_state("failed", reason)
    return reason


async def _run_worker(
    home: Home,
    job_id: int,
    files: PairFiles,
    settings: HandedSettings,
    limits: WorkerLimits,
    worker: Sequence[str],
    timing: Timing,
) -> str | None:
    lock = lock_worker(files.run.worker_lock)
    if lock is None:
        return "another worker works in the job's folder: ask again when it has ended"
    try:
        with files.log.open("wb") as log:
            environment = limits.environment(job_id) | settings.environment()
            process = await start_side_worker(worker, "pairs", home, job_id, log, environment, (lock,))
    except NoSideWorker as error:
        return str(error)
    except OSError as error:
        return f"{files.log} cannot be written: {error.strerror or error}"
    finally:
        os.close(lock)
    memory = MemoryWatch(process.pid, limits.memory_bytes, timing=timing)
    question = json.dumps(PairScoringInput(job=job_id).model_dump(mode="json")).encode()
    ended = asyncio.ensure_future(process.communicate(question))
    try:
        async with keep_awake(process.pid, limits.prevent_sleep):
            while not ended.done():
                await asyncio.wait({ended}, timeout=timing.worker_look)
                memory.look()
                if memory.must_stop:
                    signal_group(process.pid, signal.SIGKILL)
    finally:
        signal_group(process.pid, signal.SIGKILL)  # its children, if any, or all of it where it is not wanted
        output, _ = await ended
    return _describe_failure(process.returncode or 0, output, memory, limits, files)


def _describe_failure(
    code: int, output: bytes, memory: MemoryWatch, limits: WorkerLimits, files: PairFiles
) -> str | None:
    if code == 0:
        return None
    if memory.over:
        return f"its worker took {format_size(memory.peak)}, and worker.memory allows {limits.memory}"
    log_tail = read_tail(files.log)
    if (cause := memory.verdict(code, log_tail)) is not None:
        return cause
    return read_error(output) or describe_silent_end(code, files.log)
