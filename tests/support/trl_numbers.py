"""The numbers that TRL's own trainers make of one batch (contrib/prefd-trl-losses/parity), and a loss held to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np

from prefd.plugins.types import Logprobs, LossInput, LossOutput, MeasuredLogprobs, TokenDistribution
from support.contrib_module import CONTRIB

TABLE: dict[str, Any] = json.loads((CONTRIB / "prefd-trl-losses" / "parity" / "numbers.json").read_text())


def make_input(policy: mx.array | None = None, labels: list[bool] | None = None) -> LossInput:
    """The table's batch, its policy moved to `policy` (2 B, T) where that is given."""
    batch = TABLE["batch"]
    lengths, reference = np.array(batch["lengths"]), mx.array(batch["reference"])
    tokens = mx.array(batch["policy"]) if policy is None else policy
    mask = mx.array((np.arange(tokens.shape[1]) < lengths[:, None]).astype(np.float32))
    half = len(lengths) // 2
    sides = [
        Logprobs(values[part], mask[part])
        for values in (tokens, reference)
        for part in (slice(half), slice(half, None))
    ]
    squares = mx.array(batch["log_sum_squares"])
    measured = [TokenDistribution(0 * each, 0 * each, each) for each in (squares[:half], squares[half:])]
    chosen, rejected = (MeasuredLogprobs.of(*side, each) for side, each in zip(sides, measured))
    x = LossInput(chosen, rejected, sides[2], sides[3])
    return x if labels is None else replace(x, desirable=mx.array(labels))


def assert_equals_trl(name: str, loss: Callable[[LossInput], LossOutput]) -> None:
    """The mean of `loss` over the batch, and its gradient by each token that counts, are those in the table."""
    entry = TABLE["losses"][name]
    labels = entry.get("labels")

    def mean(policy: mx.array) -> mx.array:
        return loss(make_input(policy, labels)).losses.mean()

    value, gradient = mx.value_and_grad(mean)(mx.array(TABLE["batch"]["policy"]))
    np.testing.assert_allclose(value.item(), entry["loss"], rtol=2e-5)
    x = make_input(labels=labels)
    mask = np.concatenate([np.array(x.policy_chosen.mask), np.array(x.policy_rejected.mask)])
    np.testing.assert_allclose(np.array(gradient) * mask, np.array(entry["gradient"]) * mask, rtol=2e-4, atol=2e-7)
