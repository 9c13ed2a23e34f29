"""Makes up batches for checking a loss: per-token log-probabilities as plain numbers, turned into arrays when needed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import mlx.core as mx

from prefd.plugins.types import Logprobs, LossInput, MeasuredLogprobs, TokenDistribution

Row = Sequence[float]
"""One log-probability for each completion token, in nats."""

EXTREMES = (-1e-3, -40.0, -5e3)  # nats of a whole answer: log-ratios z from −1e4 to 1e4


@dataclass(frozen=True)
class PairRows:
    """PairRows is one pair: an answer has as many tokens under the policy as under the reference."""

    policy_chosen: Row
    policy_rejected: Row
    reference_chosen: Row
    reference_rejected: Row

    def __str__(self) -> str:
        policy, reference = (
            f"{sum(chosen):g} and {sum(rejected):g}"
            for chosen, rejected in (
                (self.policy_chosen, self.policy_rejected),
                (self.reference_chosen, self.reference_rejected),
            )
        )
        lengths = f"{len(self.policy_chosen)} and {len(self.policy_rejected)} tokens"
        return f"log π {policy}, log ref {reference} for chosen and rejected, {lengths}"


def random_pairs(seed: int, pairs: int = 4) -> list[PairRows]:
    """Makes up answers of 1 to 8 tokens, the policy about half a nat a token away from the reference."""
    dice = random.Random(seed)

    def answer() -> tuple[Row, Row]:
        reference = [-dice.gammavariate(2.0, 1.0) for _ in range(dice.randint(1, 8))]
        return [min(value + dice.gauss(0.0, 0.5), -1e-3) for value in reference], reference

    sides = [(answer(), answer()) for _ in range(pairs)]
    return [PairRows(chosen[0], rejected[0], chosen[1], rejected[1]) for chosen, rejected in sides]


def extreme_pairs() -> list[PairRows]:
    """Makes up every combination of likely, unlikely and hopeless answers, in one token or spread over seven."""

    def spread(total: float, tokens: int) -> Row:
        return [total / tokens] * tokens

    return [
        PairRows(*(spread(total, 7 if number % 2 else 1) for total in totals))
        for number, totals in enumerate(product(EXTREMES, repeat=4))
    ]


def loss_input(
    pairs: Sequence[PairRows],
    with_reference: bool,
    padding: int = 0,
    dtype: mx.Dtype = mx.float32,
    unpaired: bool = False,
) -> LossInput:
    """Turns `pairs` into a batch, with `padding` columns more than the longest answer needs.

    `unpaired`: their chosen sides are single answers, those of more than four tokens good ones, the others bad.
    """
    desirable = mx.array([len(pair.policy_chosen) > 4 for pair in pairs]) if unpaired else None
    chosen, rejected = (
        _side([getattr(pair, name) for pair in pairs], padding, dtype) for name in ("policy_chosen", "policy_rejected")
    )
    if not with_reference:
        return LossInput(chosen, rejected, desirable=desirable)
    return LossInput(
        chosen,
        rejected,
        _side([pair.reference_chosen for pair in pairs], padding, dtype),
        _side([pair.reference_rejected for pair in pairs], padding, dtype),
        desirable=desirable,
    )


def _side(rows: Sequence[Row], padding: int, dtype: mx.Dtype) -> Logprobs:
    width = max(map(len, rows)) + padding
    tokens = [[*row, *[0.0] * (width - len(row))] for row in rows]
    mask = [[1.0] * len(row) + [0.0] * (width - len(row)) for row in rows]
    counted = mx.array(mask, dtype=dtype)
    flat = TokenDistribution(*(each * counted for each in (1.2, 0.1, -0.8)))
    return MeasuredLogprobs.of(mx.array(tokens, dtype=dtype), counted, flat)
