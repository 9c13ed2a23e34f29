from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.training.selection import Selection


def selection(**training: Any) -> Selection:
    return Selection.from_spec(TrainingSpec.model_validate({"steps_per_eval": 1} | training))


def stopping(**fields: Any) -> Selection:
    return selection(early_stopping=fields)


def stopped_at(chosen_best: Selection, values: list[float], name: str = "eval_loss") -> int | None:
    """The evaluation, from 1, after which it is time to stop."""
    for step, value in enumerate(values, 1):
        chosen_best.record(step, {name: value})
        if chosen_best.stop:
            return step
    return None


@pytest.mark.parametrize(
    ("fields", "values", "stop_step"),
    [
        ({"patience": 2}, [5, 4, 4, 4.5, 1], 4),
        ({"patience": 2}, [5, 4, 4, 3, 3, 3], 6),
        ({"patience": 1}, [5, 4, 3, 2], None),
        ({"patience": 1, "min_delta": 0.5}, [5, 4.4, 4.0], 3),
        ({"patience": 2, "min_delta": 0.5}, [5, 4.8, 4.4, 4.3], None),  # measured from the best, not the one before
        ({"patience": 1, "mode": "max"}, [1, 2, 2], 3),
        ({"patience": 1}, [5, math.nan], 2),
        ({"patience": 2}, [math.nan, 5, 4, 3], None),
        ({"patience": 2}, [math.nan, math.nan], 2),
    ],
)
def test_it_stops_after_patience_evaluations_without_improvement(
    fields: dict[str, Any], values: list[float], stop_step: int | None
) -> None:
    assert stopped_at(stopping(**fields), values) == stop_step


def test_a_loss_is_better_small_and_anything_else_large() -> None:
    assert stopped_at(stopping(metric="eval_nll_loss", patience=1), [1, 2], "eval_nll_loss") == 2
    assert stopped_at(stopping(metric="eval_rewards/margins", patience=1), [1, 2], "eval_rewards/margins") is None


def test_the_best_step_is_the_first_with_the_best_value() -> None:
    chosen_best = selection(best_checkpoint={"metric": "eval_rewards/accuracies"})
    assert chosen_best.best_step is None
    stopped_at(chosen_best, [0.5, 0.8, 0.8, 0.7], "eval_rewards/accuracies")
    assert chosen_best.best_step == 2
    assert not chosen_best.stop


def test_why_it_stopped_is_said() -> None:
    chosen_best = stopping(patience=2)
    stopped_at(chosen_best, [0.5, 0.25, 0.3, 0.3])
    assert chosen_best.explain_stop() == (
        "stopped early: eval_loss was best at step 2 (0.25), and 2 evaluations since did not improve it"
    )
    stopped_at(chosen_best := stopping(patience=1), [math.nan])
    assert chosen_best.explain_stop() == "stopped early: eval_loss was not a number in 1 evaluations"


def test_nothing_asked_for_is_nothing_kept() -> None:
    chosen_best = selection()
    chosen_best.record(1, {"eval_loss": 1.0})
    assert (chosen_best.in_use, chosen_best.stop, chosen_best.best_step, chosen_best.state()) == (
        False,
        False,
        None,
        {},
    )


def test_a_metric_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(JobError, match=r"no metric eval_kl to select by; the evaluations have eval_loss, eval_x$"):
        stopping(metric="eval_kl").record(1, {"eval_loss": 1.0, "eval_x": 1.0, "step": 1})


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30), st.integers(0, 29))
def test_restored_anywhere_it_goes_on_as_if_never_stopped(values: list[float], cut: int) -> None:
    def build_selection() -> Selection:
        return selection(early_stopping={"patience": 3, "min_delta": 0.1}, load_best_model_at_end=True)

    unbroken, before, after = build_selection(), build_selection(), build_selection()
    stopped_at(before, values[:cut])
    after.restore(json.loads(json.dumps(before.state())))
    if not after.stop:
        for step, value in enumerate(values[cut:], cut + 1):
            after.record(step, {"eval_loss": value})
            if after.stop:
                break
    stopped_at(unbroken, values)
    assert after.state() == unbroken.state()
