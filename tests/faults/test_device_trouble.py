"""A GPU that ends passes, or has no memory left, costs a job nothing: the worker says which it was, and the job goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.optimizers import Optimizer

from prefd.daemon.errors import WorkerExit
from prefd.daemon.machine.device_trouble import has_device_trouble
from prefd.daemon.machine.memory import OUT_OF_MEMORY
from prefd.daemon.runs.phases import Phase
from prefd.daemon.worker import phases, stopping
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.reference import scoring_pass
from prefd.daemon.worker.training.trainer import Trainer
from support.jobs_on_disk import adapter_digest, finished, job
from support.thinned import thin

METAL = "[METAL] Command buffer execution failed: "
TROUBLES = [
    METAL + "Impacting Interactivity (0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)",
    METAL + "Caused GPU Timeout Error (00000002:kIOGPUCommandBufferCallbackErrorTimeout)",
    METAL + "Caused GPU Hang Error (00000003:kIOGPUCommandBufferCallbackErrorHang)",
    METAL + "Innocent Victim of GPU Error/Recovery (00000005:kIOGPUCommandBufferCallbackErrorInnocentVictim)",
    METAL
    + "Ignored (for causing prior/excessive GPU errors) (00000004:kIOGPUCommandBufferCallbackErrorSubmissionsIgnored)",
    "CUDA error: the launch timed out and was terminated",
    "cudaStreamSynchronize(stream) failed: unspecified launch failure",
    "CUDA error: uncorrectable ECC error encountered",
]
SHORTAGES = [
    METAL + "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
    "[metal::malloc] Attempting to allocate 34359738368 bytes which is greater than the maximum allowed buffer size",
    "cudaMallocAsync(&data, size, stream) failed: out of memory",
    "std::bad_alloc",
]
OTHERS = [
    "[matmul] Last dimension of first input with shape (3,4) must match",
    "no kernel of that name",
    "step 3: loss nan",
]


@pytest.mark.parametrize("text", TROUBLES)
def test_the_words_of_a_device_in_trouble_are_known(text: str) -> None:
    assert has_device_trouble(text)
    assert not OUT_OF_MEMORY.search(text)


@pytest.mark.parametrize("text", SHORTAGES)
def test_memory_that_ran_out_is_no_trouble_of_the_device(text: str) -> None:
    assert OUT_OF_MEMORY.search(text)
    assert not has_device_trouble(text)


@pytest.mark.parametrize("text", OTHERS)
def test_other_errors_are_the_jobs(text: str) -> None:
    assert not has_device_trouble(text)
    assert not OUT_OF_MEMORY.search(text)


class Failing:
    """A function that raises what MLX raises at its `number`-th call, before its work or `after` it, and else does it."""

    def __init__(self, work: Callable[..., Any], text: str, number: int, after: bool = False) -> None:
        self.work, self.text, self.remaining, self.after = work, text, number, after

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        self.remaining -= 1
        if self.remaining == 0 and self.after:
            self.work(*arguments, **keywords)
        if self.remaining == 0:
            raise RuntimeError(self.text)
        return self.work(*arguments, **keywords)

    def __get__(self, instance: Any, _: type) -> Any:
        return self if instance is None else lambda *arguments, **keywords: self(instance, *arguments, **keywords)


class Counting:
    """A function that keeps what it was called with each time that it came to its end."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self.work = work
        self.calls: list[Any] = []

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        result = self.work(*arguments, **keywords)
        self.calls.append(arguments[1])
        return result

    def __get__(self, instance: Any, _: type) -> Any:
        return self if instance is None else lambda *arguments, **keywords: self(instance, *arguments, **keywords)


@dataclass(frozen=True)
class Fault:
    """Where in each worker of a job a fault comes, and after which steps checkpoints are there then, worker by worker."""

    phase: Phase
    owner: Any
    name: str
    number: int
    saved: tuple[int, int, int, int] = (0, 0, 0, 0)
    after: bool = False


FAULTS = {
    "loading": Fault("precompute", loading, "open_base", 2),  # the first is the plan's
    "scoring": Fault("precompute", scoring_pass, "collect_scores", 2),
    "training": Fault("training", Trainer, "step", 2, (1, 2, 3, 4)),
    "update": Fault("training", Optimizer, "update", 2, (1, 2, 3, 4), after=True),
    "evaluation": Fault("training", Trainer, "evaluate", 1, (2, 2, 2, 2)),
    "saving": Fault("training", mx, "save_safetensors", 1, (3, 6, 6, 6)),  # of checkpoints, and of the adapter
}
NIGHT = [(TROUBLES[0], WorkerExit.DEVICE_TROUBLE), (TROUBLES[1], WorkerExit.DEVICE_TROUBLE),
         (TROUBLES[3], WorkerExit.DEVICE_TROUBLE), (SHORTAGES[0], WorkerExit.NO_MEMORY)]  # fmt: skip
"""What the workers of one job meet, one after the other: the display, a timeout, another program's error, and no memory."""
SETTINGS: dict[str, Any] = {"training": {"iters": 6, "save_every": 3, "steps_per_eval": 2}}
TWINS: dict[Path, str] = {}


def find_twin(folder: Path, model: Path, pairs: Path) -> str:
    """The adapter of the same job when nothing happens, computed once for a model."""
    if model not in TWINS:
        TWINS[model] = adapter_digest(finished(job(folder, model, pairs, **SETTINGS)))
    return TWINS[model]


@pytest.mark.parametrize(
    "place", thin(FAULTS, ("scoring", "update", "saving").__contains__)
)  # one each of the phases' beginnings, middles and ends
def test_a_job_goes_on_to_its_twins_adapter_wherever_it_is_hit_and_repeats_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path, pairs_file: Path, place: str
) -> None:
    """Though checkpoints are every third step: the last whole step is saved, and what was scored is committed."""
    monkeypatch.setattr(stopping, "watch_signals", Never)
    monkeypatch.setattr(stopping, "watch_parent", lambda _: None)
    monkeypatch.setattr(scoring_pass, "bound_tokens", lambda network, most: 60)  # several batches
    twin = find_twin(tmp_path / "twin", tiny_model, pairs_file)
    hit, fault = job(tmp_path, tiny_model, pairs_file, **SETTINGS), FAULTS[place]
    steps, scored = Counting(Trainer.step), Counting(scoring_pass.collect_scores)
    monkeypatch.setattr(Trainer, "step", steps)
    monkeypatch.setattr(scoring_pass, "collect_scores", scored)
    if fault.phase == "training":
        assert run("precompute", hit) == WorkerExit.DONE
    for (text, code), saved_step in zip(NIGHT, fault.saved):
        with monkeypatch.context() as patch:
            work = getattr(fault.owner, fault.name)
            patch.setattr(fault.owner, fault.name, Failing(work, text, fault.number, fault.after))
            assert run(fault.phase, hit) == code
        assert hit.run.outcome(fault.phase) is None
        saved = max((int(path.name[5:]) for path in hit.run.checkpoints.glob("step-*")), default=0)
        assert saved == saved_step, text
    for each in ("precompute", "training"):
        assert run(each, hit) == WorkerExit.DONE
    assert adapter_digest(hit) == twin
    assert steps.calls == [1, 2, 3, 4, 5, 6]
    keys = [key for batch in scored.calls for key, _ in batch]
    assert len(scored.calls) > len(NIGHT)
    assert len(keys) == len(set(keys))


def test_a_loss_of_memory_in_the_update_of_all_weights_goes_on_from_the_last_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    """Their old values are not kept beside the new ones: what is half changed is not saved."""
    monkeypatch.setattr(stopping, "watch_signals", Never)
    monkeypatch.setattr(stopping, "watch_parent", lambda _: None)
    settings: dict[str, Any] = {"training": {"iters": 4, "save_every": 2, "fine_tune": "full", "learning_rate": 1e-4}}
    hit = job(tmp_path, tiny_model, pairs_file, **settings)
    assert run("precompute", hit) == WorkerExit.DONE
    with monkeypatch.context() as patch:
        patch.setattr(Optimizer, "update", Failing(Optimizer.update, SHORTAGES[0], 4, after=True))
        assert run("training", hit) == WorkerExit.NO_MEMORY
    assert [path.name for path in hit.run.checkpoints.glob("step-*")] == ["step-00000002"]
    assert run("training", hit) == WorkerExit.DONE
    assert adapter_digest(hit) == adapter_digest(finished(job(tmp_path / "twin", tiny_model, pairs_file, **settings)))


def test_memory_that_runs_out_at_the_first_step_ends_in_the_adapter_that_smaller_batches_give(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    """The same adapter, bit for bit, as of a job that was told so at once; and within rounding the one of whole batches."""
    monkeypatch.setattr(stopping, "watch_signals", Never)
    monkeypatch.setattr(stopping, "watch_parent", lambda _: None)
    training = {"iters": 4, "batch_size": 4, "batch_tokens": 400, "optimizer": "sgd", "learning_rate": 0.1}
    hit = job(tmp_path / "hit", tiny_model, pairs_file, training=training)
    assert run("precompute", hit) == WorkerExit.DONE
    with monkeypatch.context() as fault:
        fault.setattr(Trainer, "step", Failing(Trainer.step, SHORTAGES[0], 1))
        assert run("training", hit) == WorkerExit.NO_MEMORY
    hit.run.batches.add_halving("memory")  # as the supervisor does
    assert run("training", hit) == WorkerExit.DONE
    outcome = hit.run.outcome("training")
    assert outcome is not None
    assert any(
        "batch_tokens 200, " in warning and "memory ran out once" in warning for warning in outcome.summary.warnings
    )
    settings = {
        "batch_tokens": 200,
        "grad_checkpoint": True,
    }  # 400 tokens are few for a CPU, so layers are recomputed too
    smaller = finished(job(tmp_path / "smaller", tiny_model, pairs_file, training=training | settings))
    whole = finished(job(tmp_path / "whole", tiny_model, pairs_file, training=training))
    assert adapter_digest(hit) == adapter_digest(smaller) != adapter_digest(whole)
    weights, others = (mx.load(str(each.run.adapter / "adapters.safetensors")) for each in (hit, whole))
    assert isinstance(weights, dict)
    assert isinstance(others, dict)
    for name, value in weights.items():
        assert mx.allclose(value, others[name], rtol=1e-4, atol=1e-6), name


class Never:
    """A stop that is never requested."""

    def is_set(self) -> bool:
        return False

    def set(self) -> None:
        raise AssertionError("nobody asks for a stop")


def run(phase: Phase, running_job: RunningJob) -> int:
    return phases.run_phases(phase, running_job.home.root, 1)
