"""Training in float64 with a live reference: full logits, one sequence at a time, nothing of prefd's engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_map

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.fine_tune import make_trainable
from prefd.daemon.worker.training.optimizer import make_optimizer
from prefd.daemon.worker.training.schedule import Schedule
from prefd.plugins.types import Logprobs, LossInput
from support.first_losses import STEPS
from support.jobs_on_disk import make_job

PAIRS = [
    {"prompt": "What is two plus two?", "chosen": "Four.", "rejected": "It could be many things, who knows."},
    {"prompt": "Name a primary colour.", "chosen": "Red is one.", "rejected": "Colours are lovely, are they not?"},
    {"prompt": "Is the sun a star?", "chosen": "Yes, it is a star.", "rejected": "No."},
    {"prompt": "Where do penguins live?", "chosen": "In the south.", "rejected": "Up at the North Pole with bears."},
]


def job_of(folder: Path, model: Path, loss: str) -> RunningJob:
    """A job of STEPS steps on four pairs, in a home in `folder`."""
    pairs = folder / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS), encoding="utf-8")
    training = {"batch_size": 2, "iters": STEPS, "learning_rate": 1e-3, "seed": 1}
    data = {"path": str(pairs), "validation": 0.0}
    return make_job(folder / "home", model=str(model), data=data, loss={"name": loss}, training=training)


def exact_losses(job: RunningJob, steps: int) -> list[float]:
    """The first losses of `job`'s training, on the CPU, where MLX has float64."""
    assert job.spec.training is not None
    with mx.stream(mx.cpu):
        mx.random.seed(job.spec.training.seed)
        model = loading.load(job.policy)
        make_trainable(model, job.policy, job.spec.training)
        reference = loading.load(job.reference)
        for each in (model, reference):
            each.set_dtype(mx.float64)
        schedule = Schedule.plan(job.data.train, job.spec.training)
        optimizer = make_optimizer(job.spec.training, schedule.total_steps, model)
        losses = []
        for step in range(1, steps + 1):
            pairs = schedule.pairs(step)
            sides = [[each.chosen for each in pairs], [each.rejected for each in pairs]]
            answers = [_logprobs(reference, side) for side in sides] if job.loss.needs_reference else [None, None]

            def mean(sides: Any = sides, answers: Any = answers) -> mx.array:
                chosen, rejected = (_logprobs(model, side) for side in sides)
                return job.loss(LossInput(chosen, rejected, *answers)).losses.mean()

            loss, gradients = nn.value_and_grad(model, mean)()
            optimizer.update(model, tree_map(lambda each: each.astype(mx.float64), gradients))
            mx.eval(model.parameters(), optimizer.state)
            losses.append(float(loss.item()))
        return losses


def _logprobs(model: nn.Module, completions: Sequence[Completion]) -> Logprobs:
    rows = []
    for one in completions:
        logits = model(mx.array(one.ids[None, :-1].astype("int32")))[0, one.start - 1 :]
        targets = mx.array(one.ids[one.start :].astype("int32"))
        picked = mx.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        rows.append(picked - mx.logsumexp(logits, axis=-1))
    width = max(map(len, rows))
    mask = mx.array([[1.0] * len(row) + [0.0] * (width - len(row)) for row in rows], dtype=mx.float64)
    return Logprobs(mx.stack([mx.pad(row, (0, width - len(row))) for row in rows]), mask)
