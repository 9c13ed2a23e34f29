"""Training in float64 with a live reference: full logits, one sequence at a time, nothing of prefd's engine."""

from __future__ import annotations

from collections.abc import Sequence
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
        made = []
        for step in range(1, steps + 1):
            pairs = schedule.pairs(step)
            sides = [[each.chosen for each in pairs], [each.rejected for each in pairs]]
            answers = [_logprobs(reference, side) for side in sides] if job.loss.needs_reference else [None, None]

            def mean(sides: Any = sides, answers: Any = answers) -> mx.array:
                return job.loss(LossInput(*(_logprobs(model, side) for side in sides), *answers)).losses.mean()

            loss, gradients = nn.value_and_grad(model, mean)()
            optimizer.update(model, tree_map(lambda each: each.astype(mx.float64), gradients))
            mx.eval(model.parameters(), optimizer.state)
            made.append(float(loss.item()))
        return made


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
