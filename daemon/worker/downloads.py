"""`await_downloads` has a job's files downloaded that a cloud has taken off this Mac since the job was claimed.

What reads such a file waits for it without a word, and MLX does so in the middle of a pass. So they are asked for before, for a
bounded time; where they do not come, the job goes back to the queue, and asks again later.
"""

from __future__ import annotations

import errno
import logging
import time
from pathlib import Path

from prefd.daemon.machine.cloud import ASKED_FOR, InCloud, list_in_cloud, request_download
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.local_files import list_local_files
from prefd.daemon.timing import USUAL, Timing
from prefd.daemon.worker.errors import Stopped
from prefd.daemon.worker.stopping import StopEvent

log = logging.getLogger(__name__)


def await_downloads(spec: JobSpec, stop: StopEvent, timing: Timing = USUAL) -> None:
    """Return when all files that the job reads are on this machine. Raises InCloud, and Stopped where the worker is to stop."""
    deadline, requested_paths = time.monotonic() + timing.download, set[str]()
    while missing := _list_missing(spec):
        for path in missing:
            request_download(path)
        if str(missing[0]) not in requested_paths:
            requested_paths.add(str(missing[0]))
            log.warning("%s %s", missing[0], ASKED_FOR)
        if stop.is_set():
            raise Stopped(f"stopped while {missing[0]} was being downloaded")
        if time.monotonic() >= deadline:
            more = f" (and {len(missing) - 1} more)" if missing[1:] else ""
            raise InCloud(missing[0], f"{ASKED_FOR}{more}")
        time.sleep(timing.download_look)


def is_in_cloud(error: BaseException) -> bool:
    """Return whether `error` says that contents were to be read which a cloud has taken away; raised from or by itself."""
    return any(isinstance(each, OSError) and each.errno == errno.EDEADLK for each in (error, error.__cause__))


def _list_missing(spec: JobSpec) -> list[Path]:
    try:
        return list(list_in_cloud(list_local_files(spec)))
    except OSError:  # the phase says what is wrong with a folder
        return []
