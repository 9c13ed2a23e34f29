"""Makes jobs in a temporary home and runs their phases in this process, for the checks of a whole training."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import write_json
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.errors import Stopped
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.phases import plan_and_precompute
from prefd.daemon.worker.training.train import fit


class Never:
    """Never is a stop that is never asked for."""

    def is_set(self) -> bool:
        """Return False."""
        return False


@dataclass(frozen=True)
class AfterCheckpoint:
    """AfterCheckpoint is a stop that is asked for once the checkpoint of a step is there."""

    run: RunDir
    step: int

    def is_set(self) -> bool:
        """Say whether the checkpoint is there."""
        return (self.run.checkpoints / f"step-{self.step:08d}").exists()


@contextmanager
def make_home() -> Iterator[Home]:
    """Make a home in a temporary folder, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="prefd-selftest-") as folder:
        home = Home(Path(folder).resolve() / "home")
        home.create()
        yield home


def make_job(home: Home, number: int, spec: dict[str, Any]) -> RunningJob:
    """Make a claimed job in `home` of what its file would say."""
    folder = home.job(number)
    folder.mkdir()
    write_json(folder / "spec.json", JobSpec.model_validate(spec).model_dump(exclude_unset=True))
    return RunningJob.load(home, number)


def run_whole(job: RunningJob) -> None:
    """Score the reference and train, without a break."""
    plan_and_precompute(job, Never())
    fit(job, Never())


def run_broken(job: RunningJob, step: int) -> RunningJob:
    """Train to `step`, drop all that was done since, as a crash would, and have another job object go on from there."""
    plan_and_precompute(job, Never())
    try:
        fit(job, AfterCheckpoint(job.run, step))
    except Stopped:
        pass
    else:
        raise RuntimeError(f"the training did not stop after step {step}")
    for folder in job.run.checkpoints.glob("step-*"):
        if int(folder.name.removeprefix("step-")) > step:
            shutil.rmtree(folder)
    resumed = RunningJob.load(job.home, int(job.run.root.name))
    fit(resumed, Never())
    return resumed
