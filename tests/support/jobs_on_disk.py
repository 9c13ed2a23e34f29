"""Jobs as a worker finds them: a home, a run folder with a frozen spec, and the phases run in this process."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import write_json
from prefd.daemon.runs.phase_outcomes import PrecomputeOutcome, TrainingOutcome
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.phases import plan_and_precompute
from prefd.daemon.worker.training.train import train


def make_job(root: Path, job_id: int = 1, **spec: Any) -> RunningJob:
    """A claimed job under the home `root`. `spec` is what its file would say."""
    home = Home(root)
    home.create()
    folder = home.job(job_id)
    folder.mkdir(exist_ok=True)
    write_json(folder / "spec.json", JobSpec.model_validate(spec).model_dump(exclude_unset=True))
    return RunningJob.load(home, job_id)


def run_precompute(job: RunningJob, stop: threading.Event | None = None) -> PrecomputeOutcome:
    return plan_and_precompute(job, stop or threading.Event())


def run_training(job: RunningJob, stop: threading.Event | None = None) -> TrainingOutcome:
    return train(job, stop or threading.Event())


def job(home: Path, model: Path, pairs: Path, loss: str = "sigmoid", job_id: int = 1, **more: Any) -> RunningJob:
    """A job on `pairs` that steps far enough for a test to see; `training` and `data` in `more` are put over that."""
    training_changes = more.pop("training", {})
    lora = {} if training_changes.get("fine_tune") == "full" else {"rank": 4}
    training = {"batch_size": 2, "learning_rate": 1e-3, "lora": lora} | training_changes
    data = {"path": str(pairs), "validation": 0.25} | more.pop("data", {})
    return make_job(home, job_id, model=str(model), data=data, loss={"name": loss}, training=training, **more)


def again(running_job: RunningJob) -> RunningJob:
    """The same job in a worker that begins now."""
    return RunningJob.load(running_job.home, int(running_job.run.root.name))


def finished(running_job: RunningJob) -> RunningJob:
    """`made`, run to its end."""
    run_precompute(running_job)
    run_training(running_job)
    return running_job


def metrics(running_job: RunningJob) -> list[dict[str, float]]:
    """The lines of its steps, without those of evaluations."""
    return [line for line in running_job.run.read_metrics() if "loss" in line]


def adapter_digest(running_job: RunningJob) -> str:
    return hashlib.sha256((running_job.run.adapter / "adapters.safetensors").read_bytes()).hexdigest()


class StopAtLook(threading.Event):
    """An event that is found set from the n-th look on; training looks once a step."""

    def __init__(self, look: int) -> None:
        super().__init__()
        self.left = look

    def is_set(self) -> bool:
        self.left -= 1
        return self.left <= 0
