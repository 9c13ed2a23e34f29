"""What to wait for before a kill, so that the kills hit everything that happens and not only what takes long."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

from prefd.daemon.runs.run_folder import RunDir
from support.random_operations import Besieged

AIM_SECONDS = 9.0
"""Then the kill comes all the same."""
STEPS = 40
"""How far into a training the kills aim."""

Aim = Callable[[Besieged, random.Random], Callable[[], bool]]
"""Makes the condition, when the one before has been killed."""


def within(seconds: float) -> Aim:
    """Any moment, soon."""

    def aim(_: Besieged, rng: random.Random) -> Callable[[], bool]:
        moment = time.monotonic() + rng.uniform(0, seconds)
        return lambda: time.monotonic() >= moment

    return aim


def a_claim(besieged: Besieged, _: random.Random) -> Callable[[], bool]:
    earlier_files = set(os.listdir(besieged.home.accepted))
    return lambda: set(os.listdir(besieged.home.accepted)) != earlier_files


def a_worker(besieged: Besieged, _: random.Random) -> Callable[[], bool]:
    """One that has just been started: it takes a second until it does anything."""
    earlier_pids = {job.worker_pid for job in besieged.running()} | {None}
    return lambda: bool({job.worker_pid for job in besieged.running()} - earlier_pids)


def scoring(besieged: Besieged, _: random.Random) -> Callable[[], bool]:
    return lambda: any(phase == "precompute" for phase, _ in map(place, besieged.runs()))


def training(besieged: Besieged, rng: random.Random) -> Callable[[], bool]:
    step = rng.randrange(STEPS)
    return lambda: any(phase == "training" and done >= step for phase, done in map(place, besieged.runs()))


def place(run: RunDir) -> tuple[str, int]:
    progress = run.progress()
    return ("", 0) if progress is None else (progress.phase, progress.done)


def a_checkpoint(besieged: Besieged, _: random.Random) -> Callable[[], bool]:
    return lambda: any(next(run.checkpoints.glob(".step-*"), None) for run in besieged.runs())


def the_output(besieged: Besieged, _: random.Random) -> Callable[[], bool]:
    return lambda: any(
        run.adapter.exists() or next(run.root.glob(".*.partial"), None) is not None for run in besieged.runs()
    )


def an_outcome(besieged: Besieged, _: random.Random) -> Callable[[], bool]:
    """A phase has ended, and its daemon is about to write that down."""

    def ended() -> bool:
        for job in besieged.running():
            phase = "precompute" if job.state == "precomputing" else "training"
            if (besieged.home.job(job.id) / f"{phase}.json").exists():
                return True
        return False

    return ended


WHILE_TRAINING: tuple[Aim, ...] = (
    within(3),
    within(3),
    within(0.6),
    a_claim,
    a_worker,
    scoring,
    training,
    training,
    a_checkpoint,
    the_output,
    an_outcome,
)
DURING_A_BURST: tuple[Aim, ...] = (within(1.5), within(1.5), within(0.4), a_claim, a_worker, an_outcome)
