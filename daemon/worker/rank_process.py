"""Runs a rank that is not the first: it does what the first one tells it, and ends with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import IO

from prefd.daemon.errors import EXPECTED, WorkerExit
from prefd.daemon.home.layout import Home
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import memory
from prefd.daemon.worker.ranks.channel import Channel
from prefd.daemon.worker.ranks.count import read_ranks
from prefd.daemon.worker.ranks.frames import Frame
from prefd.daemon.worker.ranks.ring import LostRing
from prefd.daemon.worker.reference.scored_batches import score_batches
from prefd.daemon.worker.training.followed_steps import follow_training

log = logging.getLogger(__name__)

WORK: dict[str, Callable[[RunningJob, Channel, Frame], None]] = {"train": follow_training, "score": score_batches}


def run_rank(root: Path, job_id: int, commands: IO[bytes], answers: IO[bytes]) -> WorkerExit:
    """Do what the first rank asks for. It ends this process by closing the pipe."""
    channel = Channel(commands, answers)
    opening = channel.wait()
    try:
        job = RunningJob.load(Home(root), job_id)
        memory.bound_device_memory(job.parallel * read_ranks())
        WORK[opening.head["do"]](job, channel, opening)
    except LostRing as error:
        log.error("%s", error)
        return WorkerExit.LOST_RANK
    except EXPECTED as error:
        channel.answer({"failed": str(error)})
        return WorkerExit.FAILED
    except Exception as error:
        log.exception("in a rank")
        channel.answer({"failed": f"{type(error).__name__}: {error} (the traceback is in worker.log)"})
        return WorkerExit.FAILED
    return WorkerExit.DONE
