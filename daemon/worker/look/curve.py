"""Computes the curve of a loss, a plugin's too: what it gives, and how it pulls, for each z.

The answers have one token each, so that a sum over tokens and a mean per token are the same z. Against a reference the chosen
answer is z/2 more likely than under it and the rejected one z/2 less; without one they are z apart. A loss of single answers gets a
good one that is z more likely than under the reference, while answers to other prompts are as likely as they were.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from prefd.daemon.text.unknown_losses import suggest_loss
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker_tasks.looks import CurveQuestion, LossCurve
from prefd.plugins.manager import Plugins, RegisteredLoss
from prefd.plugins.schema import LossSchema
from prefd.plugins.types import Logprobs, LossInput, LossOutput, MeasuredLogprobs, TokenDistribution

ANSWER_NATS = -21.0
"""The log-probability of either answer where z is 0: low enough that none rises above 0."""
WIDEST = 40.0
"""The largest |z|: at z/2 from `ANSWER_NATS` an answer still has a log-probability below 0."""

Numbers = npt.NDArray[np.float64]


def compute_curve(plugins: Plugins, question: CurveQuestion) -> LossCurve:
    """Compute the curve that `question` asks for.

    Raises `JobError` for a loss that is not there or a range that is none, `LossParameterError` for parameters that it does
    not take.
    """
    if not -WIDEST <= question.low < question.high <= WIDEST:
        raise JobError(
            f"z goes from a number to a larger one within ±{WIDEST:g}, not from {question.low:g} to {question.high:g}"
        )
    registered = plugins.losses.get(question.name)
    if registered is None:
        raise JobError(
            f"no loss is called {question.name!r}; {suggest_loss(question.name, plugins.losses)}".rstrip("; ")
        )
    params = _read_params(registered, question.params)
    loss = registered.create(params, question.name)
    z = np.linspace(question.low, question.high, question.points)
    values, slopes = _trace(loss, z, registered)
    defaults = {name: each.get("default") for name, each in registered.schema.params.items()}
    return LossCurve(
        name=question.name,
        params=defaults | params,
        z=z.tolist(),
        loss=[_round(value) for value in values],
        slope=[_round(value) for value in slopes],
    )


def _read_params(registered: RegisteredLoss, texts: Mapping[str, str]) -> dict[str, Any]:
    """Read parameters that are text, as those of an address are: `0.3`, `true`; what is no JSON is a string."""
    params: dict[str, Any] = {}
    for name, text in texts.items():
        kind = registered.schema.params.get(name, {}).get("type")
        try:
            params[name] = text if kind == "string" else json.loads(text)
        except ValueError:
            params[name] = text
    return params


def _trace(loss: Callable[[LossInput], LossOutput], z: Numbers, registered: RegisteredLoss) -> tuple[Numbers, Numbers]:
    """Compute loss and slope at each z; a loss that looks across its batch gets each pair alone."""
    points = [z] if registered.schema.batch_independent else [z[index : index + 1] for index in range(len(z))]

    def total(z: mx.array) -> tuple[mx.array, mx.array]:
        output = loss(_make_input(z, registered.schema))
        if not isinstance(output, LossOutput) or getattr(output.losses, "shape", None) != z.shape:
            raise JobError(
                f"loss {registered.name!r} gives no loss for each pair: `prefd check-loss {registered.name}`"
            )
        return output.losses.sum(), output.losses

    traced = [mx.value_and_grad(total)(mx.array(part, dtype=mx.float32)) for part in points]
    values = np.concatenate([np.array(losses).astype(np.float64) for (_, losses), _ in traced])
    slopes = np.concatenate([np.array(slope).astype(np.float64) for _, slope in traced])
    return values, slopes


def _make_input(z: mx.array, schema: LossSchema) -> LossInput:
    """Make the batch of pairs with these z, an answer of one token on each side; or of good answers this far above the reference."""
    mask = mx.ones((len(z), 1))

    def side(shift: mx.array) -> Logprobs:
        sure = TokenDistribution(
            *[ANSWER_NATS * mask] * 3
        )  # of a policy that is as sure of an answer as of what it draws
        return MeasuredLogprobs.of((ANSWER_NATS + shift)[:, None], mask, sure)

    policy = (side(z), side(0 * z)) if schema.unpaired else (side(z / 2), side(-z / 2))
    desirable = mx.ones(z.shape, mx.bool_) if schema.unpaired else None
    if not schema.needs_reference:
        return LossInput(*policy, desirable=desirable)
    return LossInput(*policy, side(0 * z), side(0 * z), desirable=desirable)


def _round(value: float) -> float | None:
    """Keep six digits, which is what a curve shows; None where the value is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
