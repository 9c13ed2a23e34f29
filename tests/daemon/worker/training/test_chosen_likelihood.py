from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from prefd.daemon.worker.training.chosen_likelihood import describe_falling_chosen

Lines = list[dict[str, float]]


def run(steps: int, chosen: float, margins: float, noise: float = 0.0, seed: int = 0, beta: float = 0.1) -> Lines:
    """Reports in which the chosen log-probability and the margins change by so much from first to last.

    `noise`: the standard deviation, in nats, between the pairs of different steps.
    """
    rng = np.random.default_rng(seed)
    lines = []
    for step in range(steps):
        share = step / (steps - 1)
        moved = chosen * share
        reward = beta * moved + rng.normal(0, 0.01)
        lines.append(
            {
                "logps/chosen": -100 + moved + rng.normal(0, noise),
                "rewards/chosen": reward,
                "rewards/margins": margins * share + rng.normal(0, 0.05),
            }
        )
    return lines


def evaluations(*values: tuple[float, float]) -> Lines:
    return [{"eval_logps/chosen": chosen, "eval_rewards/margins": margin} for chosen, margin in values]


def test_falling_chosen_and_rising_margins_are_told_with_the_remedies() -> None:
    message = describe_falling_chosen(run(40, chosen=-20, margins=2))
    assert message is not None
    assert message.startswith("logps/chosen fell from -102.3 to -117.7 while rewards/margins rose from 0.2")
    for remedy in ("dpop", "larger beta", "sft term"):
        assert remedy in message


@pytest.mark.parametrize(
    "lines",
    [
        run(40, chosen=20, margins=2),  # what it should look like
        run(40, chosen=0, margins=2),
        run(40, chosen=-1, margins=2),  # 1 nat of 100
        run(40, chosen=-20, margins=-2),  # getting worse at everything: the loss shows it
        run(40, chosen=-20, margins=0),
        run(7, chosen=-20, margins=2),  # too short to say
        [],
    ],
)
def test_anything_else_is_not(lines: Lines) -> None:
    assert describe_falling_chosen(lines) is None


def test_scatter_between_batches_is_no_fall() -> None:
    warned = [describe_falling_chosen(run(20, chosen=0, margins=1, noise=60, seed=seed)) for seed in range(200)]
    assert sum(each is not None for each in warned) <= 4


def test_a_fall_is_seen_through_scatter_between_batches() -> None:
    warned = [describe_falling_chosen(run(80, chosen=-40, margins=1, noise=20, seed=seed)) for seed in range(50)]
    assert sum(each is not None for each in warned) >= 45


def test_held_out_pairs_are_compared_with_themselves_and_come_first() -> None:
    training = run(40, chosen=-20, margins=2)
    assert describe_falling_chosen(training + evaluations((-100, 0.1), (-100.5, 1.0))) is None
    message = describe_falling_chosen(run(40, chosen=0, margins=1) + evaluations((-100, 0.1), (-110, 1.0)))
    assert message is not None
    assert message.startswith(
        "eval_logps/chosen fell from -100.0 to -110.0 while eval_rewards/margins rose from 0.1 to 1:"
    )
    assert (
        describe_falling_chosen(run(40, chosen=-20, margins=2) + evaluations((-100, 0.1))) is not None
    )  # one says nothing


def test_a_long_answer_may_lose_a_nat() -> None:
    assert describe_falling_chosen(evaluations((-500, 0.1), (-505, 1.0))) is None
    assert describe_falling_chosen(evaluations((-500, 0.1), (-515, 1.0))) is not None
    assert describe_falling_chosen(evaluations((-5, 0.1), (-5.9, 1.0))) is None


@pytest.mark.parametrize("gap", [{}, {"eval_rewards/margins": None}])
def test_evaluations_without_margins_are_passed_over(gap: dict[str, None]) -> None:
    """Single answers that all have one label have none, and a number that is not finite is null."""
    without: list[Any] = [{"eval_logps/chosen": -100.0} | gap, {"eval_logps/chosen": -200.0} | gap]
    assert describe_falling_chosen(without) is None
    assert describe_falling_chosen([*evaluations((-100.0, 0.1)), *without, *evaluations((-200.0, 1.0))]) is not None
