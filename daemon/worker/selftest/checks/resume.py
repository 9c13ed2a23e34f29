"""Compares, bit for bit, the adapter of 6 steps with that of 3 steps, a resume from the checkpoint, and 3 more.

LoRA with dropout, so that the random state counts too; three answers to a prompt, whose gradients a GPU may add up in any
order; and all weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from prefd.daemon.home.layout import Home
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.selftest.devices import choose_half, is_gpu
from prefd.daemon.worker.selftest.random_models import TINY, write_model, write_pairs
from prefd.daemon.worker.selftest.temporary_jobs import make_home, make_job, run_broken, run_whole
from prefd.daemon.worker_tasks.check_results import CheckResult

STEPS, BREAK = 6, 3
MOST_OFF = 1e-3
"""By which weights may differ where the same bits are not promised: steps here move them by ten times as much."""


@dataclass(frozen=True)
class Case:
    """Case is a way of training that is tried."""

    name: str
    training: dict[str, Any]
    answers: int = 2
    """Answers to one prompt."""
    promised_on_gpu: bool = True
    """Whether a GPU, too, is to give the same bits."""
    in_float32: bool = False
    """Whether the model is in float32 on a GPU too, where a step is far more than a number's last digit."""


CASES = (
    Case("LoRA", {"lora": {"rank": 4, "dropout": 0.1}}),
    Case("LoRA, 3 answers a prompt", {"lora": {"rank": 4}}, answers=3, promised_on_gpu=False),
    Case("full", {"fine_tune": "full"}, promised_on_gpu=False, in_float32=True),
)


def check(_: str | None) -> CheckResult:
    """Try each case."""
    with make_home() as home:
        half = choose_half()
        models = {dtype: write_model(home.root.parent / dtype, TINY, dtype) for dtype in {half, "float32"}}
        differences = {}
        for number, case in enumerate(CASES):
            data = write_pairs(home.root.parent / f"pairs{number}.jsonl", 8, case.answers)
            model = models["float32" if case.in_float32 else half]
            differences[case.name] = compare(home, number, str(model), str(data), case)
    wrong = [
        f"{case.name} by {differences[case.name]:.1g}"
        for case in CASES
        if differences[case.name] != 0
        and not (is_gpu() and not case.promised_on_gpu and differences[case.name] < MOST_OFF)
    ]
    if wrong:
        return CheckResult(
            outcome="failed",
            finding=f"{STEPS} steps end with other weights than {BREAK}, a resume and {STEPS - BREAK}: {', '.join(wrong)}",
            numbers=differences,
            remedy="a job that is stopped and goes on ends otherwise than it would have: report this block",
        )
    same = [name for name, difference in differences.items() if difference == 0]
    finding = (
        f"{STEPS} steps and {BREAK} + resume + {STEPS - BREAK} end with the same bits: {'; '.join(same) or 'none'}"
    )
    near = [f"{name} by {difference:.1g}" for name, difference in differences.items() if difference]
    if near:
        finding += f"; near, as is all that a GPU promises there: {'; '.join(near)}"
    return CheckResult(outcome="ok", finding=finding, numbers=differences)


def compare(home: Home, number: int, model: str, data: str, case: Case) -> float:
    """Return the largest difference of a weight between the unbroken run and the resumed one; 0 for the same bits."""
    training = {"iters": STEPS, "batch_size": 4, "learning_rate": 1e-3, "save_every": BREAK, **case.training}
    spec = {"model": model, "data": {"path": data, "validation": 0.0, "max_length": 128}, "training": training}
    whole = make_job(home, 2 * number + 1, spec)
    run_whole(whole)
    resumed = run_broken(make_job(home, 2 * number + 2, spec), BREAK)
    return _compare_adapters(whole, resumed)


def _compare_adapters(one: RunningJob, other: RunningJob) -> float:
    paths = [job.run.adapter / "adapters.safetensors" for job in (one, other)]
    if paths[0].read_bytes() == paths[1].read_bytes():
        return 0.0
    left, right = (mx.load(str(path)) for path in paths)
    assert isinstance(left, dict)
    assert isinstance(right, dict)
    if left.keys() != right.keys():
        return float("inf")
    differences = [
        np.abs(np.array(left[name].astype(mx.float32)) - np.array(right[name].astype(mx.float32))) for name in left
    ]
    largest = max(float(each.max()) for each in differences)
    return largest or float("nan")  # the files differ, and no weight does: neither is right
