"""Runs a rank that is not the first: it does what the first one tells it, and ends with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import IO

from prefd.daemon.errors import EXPECTED, WorkerExit
from prefd.daemon.home.layout import Home
from prefd.daemon.worker.job import RunningJob, SpecifiedJob
from prefd.daemon.worker.models import memory
from prefd.daemon.worker.ranks.channel import Channel
from prefd.daemon.worker.ranks.count import read_ranks_here
from prefd.daemon.worker.ranks.frames import Frame
from prefd.daemon.worker.ranks.greeting import Greeting
from prefd.daemon.worker.ranks.ring import LostRing
from prefd.daemon.worker.ranks.trial import follow_trial
from prefd.daemon.worker.ranks.welcome import Welcome, locate_rank_home
from prefd.daemon.worker.reference.scored_batches import score_batches
from prefd.daemon.worker.reference.stage_batches import run_stage
from prefd.daemon.worker.training.followed_steps import follow_training
from prefd.plugins.errors import describe_exception

log = logging.getLogger(__name__)

WORK: dict[str, Callable[[SpecifiedJob, Channel, Frame], None]] = {
    "train": follow_training,
    "score": score_batches,
    "stage": run_stage,
}


def run_rank(root: Path, job_id: int, commands: IO[bytes], answers: IO[bytes]) -> WorkerExit:
    """Do what the first rank asks for, on its machine. It ends this process by closing the pipe."""
    return _work(Channel(commands, answers), lambda: RunningJob.load(Home(root), job_id))


def run_far_rank(welcome: Welcome, commands: IO[bytes], answers: IO[bytes]) -> WorkerExit:
    """Do what the first rank asks for from another machine. It ends this process by closing the pipe, or by saying nothing."""
    channel = Channel(commands, answers, silence=welcome.silence)
    if welcome.spec is not None:
        return _work(channel, lambda: load_far_job(welcome))
    try:
        follow_trial(channel, locate_rank_home())
    except LostRing as error:
        log.error("%s", error)
        return WorkerExit.LOST_RANK
    return WorkerExit.DONE


def load_far_job(welcome: Welcome) -> SpecifiedJob:
    """Load a job that is another machine's, where its folder is: here it has none. Raises JobError."""
    job = SpecifiedJob(locate_rank_home(), welcome.read_spec())
    with welcome.unpacked_plugins():
        for plugin in job.plugins.plugins:
            if plugin.error is not None:
                log.warning("the plugin %s could not be loaded: %s", plugin.name, plugin.error)
    return job


def _work(channel: Channel, load_job: Callable[[], SpecifiedJob]) -> WorkerExit:
    opening = channel.wait()
    try:
        job = load_job()
        memory.bound_device_memory(job.parallel * read_ranks_here())
        greeting = Greeting(channel, {"policy": job.policy, "reference": job.reference}, job.home, job.plugins)
        while greeting.follow(opening):
            opening = channel.wait()
        WORK[opening.head["do"]](job, channel, opening)
    except LostRing as error:
        log.error("%s", error)
        return WorkerExit.LOST_RANK
    except EXPECTED as error:
        channel.answer({"failed": str(error)})
        return WorkerExit.FAILED
    except Exception as error:
        log.exception("in a rank")
        channel.answer({"failed": f"{describe_exception(error)} (the traceback is in worker.log)"})
        return WorkerExit.FAILED
    return WorkerExit.DONE
