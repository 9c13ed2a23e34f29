"""Learns as a client asks: losses, gradients that add up, and optimizer steps. The scorer is the one that scored the reference.

A request either has all of its effect or none: what changes is exchanged as its last act.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx.utils import tree_map, tree_unflatten

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.errors import Interrupted, JobError, NotFinite
from prefd.daemon.worker.live.datums import Vocabulary, find_loss, make_completions, pad_given
from prefd.daemon.worker.live.policy import LivePolicy, take_settings
from prefd.daemon.worker.pace import Pace
from prefd.daemon.worker.scoring.plan import batch_completions
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.scoring.trunk import list_arrays
from prefd.daemon.worker.stopping import StopEvent
from prefd.daemon.worker.training.optimizer import clip_gradients, measure_global_norm
from prefd.daemon.worker_tasks.live_requests import (
    AdamParams,
    DatumResult,
    ForwardBackwardRequest,
    ForwardRequest,
    LossResult,
)
from prefd.plugins.types import Logprobs

REMEDY = "lower the learning rate, or look at the weights that were given"
Rows = list[npt.NDArray[np.float32]]


@dataclass
class Learner:
    """Learner is a policy with its accumulated gradient."""

    policy: LivePolicy
    scorer: Scorer
    vocabulary: Vocabulary
    batch_tokens: int
    """Tokens that run at once."""
    pace: Pace
    stop: StopEvent
    gradient: Any = None
    """A tree of float32 arrays, one for each trainable parameter; None where nothing has accumulated."""
    loss: float = 0.0
    """The sum of the losses whose gradient has accumulated."""
    tokens: int = 0
    """The tokens that these were computed from."""
    steps: int = 0
    """Optimizer steps that the session has taken; a state that was loaded may have had more."""
    changed: bool = False
    """Whether anything has changed since the state was saved."""

    def compute_loss(self, request: ForwardRequest | ForwardBackwardRequest) -> LossResult:
        """Do the request: a `forward_backward` adds its gradient, a `forward` leaves none.

        Raises `JobError` for what cannot be scored, `NotFinite` for numbers that are none, and `Interrupted` at a stop.
        """
        loss = find_loss(request)
        completions = make_completions(request, self.vocabulary)
        wants_gradient = request.kind == "forward_backward"
        gradient = self.gradient
        scored: dict[int, DatumResult] = {}
        for batch in self._list_batches(completions):
            data = [request.data[index] for index in batch]
            inputs = pad_given(data, loss)

            def share(logprobs: Logprobs, inputs: Any = inputs) -> tuple[mx.array, tuple[mx.array, mx.array]]:
                losses = loss.compute(logprobs.tokens, inputs)
                return losses.sum(), (logprobs.tokens, losses)

            sides = [completions[index] for index in batch]
            if wants_gradient:
                (_, outputs), added = self.scorer.value_and_grad(sides, share)
                # arrays alone: a model's lists of other things are in no state that was saved and loaded
                added = tree_unflatten([(name, leaf.astype(mx.float32)) for name, leaf in list_arrays(added)])
                gradient = added if gradient is None else tree_map(mx.add, gradient, added)
            else:
                _, outputs = share(self.scorer.logprobs(sides))
            mx.eval(outputs, gradient)
            for row, (index, datum) in enumerate(zip(batch, data)):
                logprobs, losses = (np.array(part)[row, : len(datum.targets)] for part in outputs)
                require_finite(f"data[{index}]", logprobs, losses)
                scored[index] = DatumResult(logprobs=logprobs.tolist(), elementwise_loss=losses.tolist())
        outputs_in_order = [scored[index] for index in range(len(completions))]
        total = math.fsum(value for output in outputs_in_order for value in output.elementwise_loss)
        tokens = sum(len(completion.ids) for completion in completions)
        if wants_gradient:
            if not math.isfinite(measure_global_norm(gradient)):
                raise NotFinite(
                    f"{request.kind}: the gradient is not finite, and was not added to the accumulated one; {REMEDY}"
                )
            self.gradient, self.changed = gradient, True
            self.loss, self.tokens = self.loss + total, self.tokens + tokens
        return LossResult(
            n=request.n, loss_fn_outputs=outputs_in_order, metrics={"loss:sum": total, "tokens:sum": float(tokens)}
        )

    def _list_batches(self, completions: list[Completion]) -> Iterator[list[int]]:
        """Yield the indices of what runs at once, and rest after each as the machine wants."""
        for index, batch in enumerate(batch_completions(completions, self.batch_tokens)):
            if index and self.stop.is_set():
                raise Interrupted("the batches of a request")
            began = time.monotonic()
            yield batch
            self.pace.rest(time.monotonic() - began, self.stop)

    def take_step(self, params: AdamParams) -> dict[str, float]:
        """Take one optimizer step along the accumulated gradient; return its norm, before it is clipped, and the optimizer's count.

        Raises `JobError` where none has accumulated.
        """
        if self.gradient is None:
            raise JobError(
                "optim_step: no gradient has accumulated since the last step; send a forward_backward before it"
            )
        norm = measure_global_norm(self.gradient)
        model, optimizer = self.policy.model, self.policy.optimizer
        weights, state = model.trainable_parameters(), tree_map(lambda leaf: leaf, optimizer.state)
        take_settings(optimizer, params)
        optimizer.update(model, clip_gradients(self.gradient, norm, params.grad_clip_norm or None))
        mx.eval(model.trainable_parameters(), optimizer.state)
        if not math.isfinite(measure_global_norm(model.trainable_parameters())):
            model.update(weights)
            optimizer.state = state
            raise NotFinite(
                f"optim_step: a learning rate of {params.learning_rate:g} makes weights that are not finite; the step was not "
                "taken, and the gradient is as it was"
            )
        self.drop_gradient()
        self.steps += 1
        return {"optim/grad_norm:last": norm, "optim/step:last": float(optimizer.step.item())}

    def drop_gradient(self) -> None:
        """Begin to accumulate from nothing."""
        self.gradient, self.loss, self.tokens, self.changed = None, 0.0, 0, True


def require_finite(place: str, *rows: npt.NDArray[np.float32]) -> None:
    """Raise `NotFinite` where a log-probability or a loss is no number."""
    for name, row in zip(("log-probability", "loss"), rows):
        wrong = np.flatnonzero(~np.isfinite(row))
        if wrong.size:
            raise NotFinite(
                f"{place}: the {name} of target {wrong[0]} is {row[wrong[0]]}; nothing of the request was kept; {REMEDY}"
            )
