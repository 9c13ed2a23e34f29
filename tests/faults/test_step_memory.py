"""A worker that dies at any moment costs one step at most: the next goes on from what it had kept in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.optimizers import Optimizer

from prefd.daemon.runs import step_memory
from prefd.daemon.runs.step_memory import STEP_MEMORY, StepMemory, rescue_step
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.training.checkpoint import Checkpoints
from prefd.daemon.worker.training.metrics_log import MetricsLog
from prefd.daemon.worker.training.trainer import Trainer
from support.jobs_on_disk import adapter_digest, again, finished, job, run_precompute, run_training

MOMENTS: list[tuple[Any, str, int, bool]] = [
    (Trainer, "_compute_gradients", 3, False),
    (Optimizer, "update", 2, True),
    (Trainer, "evaluate", 1, False),
    (step_memory, "_checksum", 2, False),
    (MetricsLog, "append", 2, False),
    (MetricsLog, "append", 2, True),
    (Checkpoints, "save", 1, False),  # of what was rescued, or of the last step
]
"""Where the workers of one job die, one after the other: whose function, at which of its calls, before it or after."""


class Death(BaseException):
    """The end of a worker: nothing in it catches this, as nothing catches SIGKILL."""


class Deadly:
    """A function that ends the worker at its `number`-th call, before its work or after it."""

    def __init__(self, work: Any, number: int, after: bool) -> None:
        self.work, self.remaining, self.after = work, number, after

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        self.remaining -= 1
        if self.remaining == 0 and not self.after:
            raise Death
        result = self.work(*arguments, **keywords)
        if self.remaining == 0:
            raise Death
        return result

    def __get__(self, instance: Any, _: type) -> Any:
        return self if instance is None else lambda *arguments, **keywords: self(instance, *arguments, **keywords)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that were taken, in every worker."""
    steps_run: list[int] = []
    work = Trainer.step

    def step(trainer: Trainer, number: int, *arguments: Any) -> dict[str, float]:
        steps_run.append(number)
        return work(trainer, number, *arguments)

    monkeypatch.setattr(Trainer, "step", step)
    return steps_run


def run_until_death(running_job: RunningJob, patch: pytest.MonkeyPatch) -> bool:
    """Whether the worker died; what it had kept is in the job's folder then."""
    with StepMemory.open() as memory:
        patch.setenv(STEP_MEMORY, str(memory.descriptor))
        try:
            run_training(again(running_job))
        except (Death, RuntimeError):
            rescue_step(memory, running_job.run)
            return True
    return False


def lines(running_job: RunningJob) -> list[dict[str, float]]:
    """The metrics, without what depends on the clock or on the process."""
    varying = {"time", "tokens_per_second", "peak_memory_gb"}
    return [
        {name: value for name, value in line.items() if name not in varying} for line in running_job.run.read_metrics()
    ]


def test_dead_at_any_moment_it_repeats_one_step_at_most_and_ends_as_its_twin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path, pairs_file: Path, steps: list[int]
) -> None:
    settings: dict[str, Any] = {"training": {"iters": 10, "save_every": 100, "steps_per_eval": 2, "save_minutes": 1e6}}
    twin = finished(job(tmp_path / "twin", tiny_model, pairs_file, **settings))
    running_job = job(tmp_path, tiny_model, pairs_file, **settings)
    run_precompute(running_job)
    steps.clear()
    for owner, name, number, after in MOMENTS:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, Deadly(getattr(owner, name), number, after))
            assert run_until_death(running_job, patch), name
    with monkeypatch.context() as patch:
        assert not run_until_death(running_job, patch)
    assert sorted(set(steps)) == list(range(1, 11))
    assert max(steps.count(step) for step in steps) == 2
    assert len(steps) - 10 <= len(MOMENTS)
    assert lines(running_job) == lines(twin)
    assert adapter_digest(running_job) == adapter_digest(twin)
    assert not running_job.run.rescued_step.exists()


def test_an_update_of_all_weights_that_fails_halfway_repeats_that_step_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path, pairs_file: Path, steps: list[int]
) -> None:
    """Their old values are not beside the new ones in the worker, which can save nothing; what it had kept outlives it."""
    training = {"iters": 4, "save_every": 100, "fine_tune": "full", "learning_rate": 1e-4}
    twin = finished(job(tmp_path / "twin", tiny_model, pairs_file, training=training))
    running_job = job(tmp_path, tiny_model, pairs_file, training=training)
    run_precompute(running_job)
    steps.clear()

    class Failing(Deadly):
        def __call__(self, *arguments: Any, **keywords: Any) -> Any:
            try:
                return super().__call__(*arguments, **keywords)
            except Death:
                raise RuntimeError("cudaMallocAsync(&data, size, stream) failed: out of memory") from None

    with monkeypatch.context() as patch:
        patch.setattr(Optimizer, "update", Failing(Optimizer.update, 3, after=True))
        assert run_until_death(running_job, patch)
    assert not list(running_job.run.checkpoints.glob("step-*"))
    run_training(again(running_job))
    assert steps == [1, 2, 3, 3, 4]
    assert adapter_digest(running_job) == adapter_digest(twin)


@pytest.mark.parametrize("foreign", ["job", "damage"])
def test_what_is_not_this_jobs_or_not_whole_is_not_gone_on_from(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_model: Path,
    pairs_file: Path,
    steps: list[int],
    foreign: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    running_job = job(tmp_path, tiny_model, pairs_file, training={"iters": 3})
    run_precompute(running_job)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_compute_gradients", Deadly(Trainer._compute_gradients, 3, after=False))
        assert run_until_death(running_job, patch)
    steps.clear()
    content = running_job.run.rescued_step.read_bytes()
    tensors: Any = mx.load(str(running_job.run.rescued_step), return_metadata=True)
    if foreign == "damage":
        running_job.run.rescued_step.write_bytes(content[:-200] + b"?" + content[-199:])
    else:
        state = tensors[1]["state"].replace("{", '{"job": "01ANOTHER", ', 1)
        with StepMemory.open() as memory:
            memory.reserve(2 * len(content))
            memory.write(2, lambda slot: mx.save_safetensors(slot, tensors[0], {"state": state}))  # type: ignore[arg-type]
            memory.rescue(running_job.run.rescued_step)
    run_training(again(running_job))
    assert steps == [1, 2, 3]
    assert ("is of another job (01ANOTHER)" if foreign == "job" else "is damaged") in caplog.text


def test_what_a_live_reference_had_scored_outlives_the_worker_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path, pairs_file: Path, steps: list[int]
) -> None:
    """It is committed with checkpoints only, and what is scored in other batches differs in its last digits."""
    settings: dict[str, Any] = {
        "training": {"iters": 10, "save_every": 100, "batch_size": 4},
        "reference": {"live": "adapter_off"},
    }
    twin = job(tmp_path / "twin", tiny_model, pairs_file, **settings)
    run_training(twin)
    running_job = job(tmp_path, tiny_model, pairs_file, **settings)
    steps.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_compute_gradients", Deadly(Trainer._compute_gradients, 3, after=False))
        assert run_until_death(running_job, patch)
    run_training(again(running_job))
    assert steps == [1, 2, 3, *range(3, 11)]
    assert lines(running_job) == lines(twin)
    assert adapter_digest(running_job) == adapter_digest(twin)
