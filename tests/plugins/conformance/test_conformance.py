"""The conformance kit: the losses that are sound pass it, and each broken one is caught for its own reason."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import mlx.core as mx
import pytest

from prefd.plugins.conformance import CHECKS, assert_conforms, check_loss
from prefd.plugins.conformance.probes import extreme_pairs
from prefd.plugins.manager import load_plugins
from prefd.plugins.schema import Range
from prefd.plugins.types import Loss, LossInput, LossOutput, declare, reference_free

LOSSES = load_plugins().losses


def margins(x: LossInput, beta: float = 0.1) -> tuple[mx.array, mx.array]:
    """Rewards of DPO's kind, each (B,)."""
    assert x.reference_chosen is not None
    assert x.reference_rejected is not None
    return (
        beta * (x.policy_chosen.sums - x.reference_chosen.sums),
        beta * (x.policy_rejected.sums - x.reference_rejected.sums),
    )


def sound(x: LossInput, beta: float = 0.1) -> LossOutput:
    chosen, rejected = margins(x, beta)
    losses = mx.logaddexp(rejected - chosen, 0)
    return LossOutput(losses, mx.stop_gradient(chosen), mx.stop_gradient(rejected))


@pytest.mark.parametrize("name", LOSSES)
def test_every_built_in_loss_conforms(name: str) -> None:
    results = {each.check: each.result for each in check_loss(LOSSES[name].loss, name)}
    declared = {"gradient": "declared", "batch": "declared"} if LOSSES[name].schema.unpaired else {}
    declared |= dict.fromkeys(getattr(LOSSES[name].loss, "unchecked", {}), "declared")
    assert results == {"definition": "ok", **dict.fromkeys(CHECKS, "ok"), **declared}


# --- one fault each


def sums_the_batch(x: LossInput) -> LossOutput:
    """Returns one number."""
    out = sound(x)
    return replace(out, losses=out.losses.sum())


def returns_an_array(x: LossInput) -> Any:
    """Returns no LossOutput."""
    return sound(x).losses


def adds_sides_of_different_lengths(x: LossInput) -> LossOutput:
    """Expects chosen and rejected to have as many columns."""
    out = sound(x)
    return replace(out, losses=out.losses + 0 * (x.policy_chosen.tokens - x.policy_rejected.tokens).sum(-1))


def overflows(x: LossInput) -> LossOutput:
    """The logistic loss as it is written on paper."""
    out = sound(x)
    chosen, rejected = margins(x)
    return replace(out, losses=mx.log(1 + mx.exp(rejected - chosen)))


def has_a_gradient_that_is_not_finite(x: LossInput) -> LossOutput:
    """A root of 0: finite, with an infinite slope."""
    out = sound(x)
    chosen, rejected = margins(x)
    return replace(out, losses=mx.sqrt(mx.maximum(rejected - chosen, 0)) + out.losses)


def stops_half_of_its_gradient(x: LossInput) -> LossOutput:
    """Holds the rejected side constant in the gradient."""
    out = sound(x)
    chosen, rejected = margins(x)
    return replace(out, losses=mx.logaddexp(mx.stop_gradient(rejected) - chosen, 0))


def has_a_gradient_one_percent_too_large(x: LossInput) -> LossOutput:
    """The right value, and a slope that is 1.01 times what it should be."""
    out = sound(x)
    return replace(out, losses=mx.stop_gradient(out.losses) + 1.01 * (out.losses - mx.stop_gradient(out.losses)))


def depends_on_nothing(x: LossInput) -> LossOutput:
    """A constant."""
    out = sound(x)
    return replace(out, losses=mx.ones_like(out.losses))


def lets_a_gradient_through_its_rewards(x: LossInput) -> LossOutput:
    """Forgets stop_gradient."""
    out = sound(x)
    return replace(out, chosen_rewards=margins(x)[0])


def lets_a_gradient_through_a_metric(x: LossInput) -> LossOutput:
    """Forgets stop_gradient in a metric."""
    return replace(sound(x), metrics={"nll": -x.policy_chosen.means})


def names_a_metric_as_the_trainer_does(x: LossInput) -> LossOutput:
    """Its metric would stand for the loss in the log."""
    return replace(sound(x), metrics={"loss": mx.stop_gradient(x.policy_chosen.means)})


def divides_by_the_width(x: LossInput) -> LossOutput:
    """Takes the mean over the columns, padding and all."""
    chosen, rejected = (
        reward / side.mask.shape[1] for reward, side in zip(margins(x), (x.policy_chosen, x.policy_rejected))
    )
    out = sound(x)
    return replace(out, losses=mx.logaddexp(rejected - chosen, 0))


def centres_by_the_batch(x: LossInput) -> LossOutput:
    """Subtracts the batch's mean margin."""
    chosen, rejected = margins(x)
    margin = chosen - rejected
    return replace(sound(x), losses=mx.logaddexp(margin.mean() - margin, 0))


@declare(batch_independent=False)
def looks_at_the_first_pair(x: LossInput) -> LossOutput:
    """Depends on the batch's order, though its dependence on the batch is declared."""
    out = sound(x)
    return replace(out, losses=out.losses * (1 + out.losses[0]))


def forgets_the_reference(x: LossInput) -> LossOutput:
    """Says that it compares with the reference, and does not."""
    return replace(sound(x), losses=mx.logaddexp(0.1 * (x.policy_rejected.sums - x.policy_chosen.sums), 0))


def rewards_without_the_reference(x: LossInput) -> LossOutput:
    """Reports log-probabilities as rewards."""
    return replace(sound(x), chosen_rewards=mx.stop_gradient(x.policy_chosen.sums))


@reference_free
def uses_a_reference_that_it_does_not_need(x: LossInput) -> LossOutput:
    """Changes when a mixture hands it the reference."""
    margin = x.policy_chosen.sums - x.policy_rejected.sums
    if x.reference_chosen is not None:
        margin = margin - x.reference_chosen.sums
    return LossOutput(mx.logaddexp(-margin, 0), mx.zeros_like(margin), mx.zeros_like(margin))


@dataclass(frozen=True)
class KeepsState:
    """Remembers the last batch's mean."""

    seen: ClassVar[list[mx.array]] = []

    def __call__(self, x: LossInput) -> LossOutput:
        out = sound(x)
        before = self.seen[-1] if self.seen else mx.array(0.0)
        self.seen.append(mx.stop_gradient(out.losses.mean()))
        return replace(out, losses=out.losses + before)


def throws_dice(x: LossInput) -> LossOutput:
    """Weighs pairs by chance."""
    out = sound(x)
    return replace(out, losses=out.losses * random.random())


@dataclass(frozen=True)
class BreaksAtItsBound:
    """Sound at its default, and not where its parameter may go."""

    share: Annotated[float, Range(at_least=0, at_most=1)] = 0.3

    def __call__(self, x: LossInput) -> LossOutput:
        out = sound(x)
        return replace(out, losses=out.losses / (1 - self.share))  # the range lets share reach 1


@dataclass(frozen=True)
class DefaultOutOfRange:
    """Its default is not in its own range."""

    beta: Annotated[float, Range(above=0)] = 0.0

    def __call__(self, x: LossInput) -> LossOutput:
        return sound(x)


@dataclass(frozen=True)
class WordOfTheSpec:
    """Has a parameter that a spec can never set."""

    weight: float = 1.0

    def __call__(self, x: LossInput) -> LossOutput:
        return sound(x)


@dataclass(frozen=True)
class LeavesOutTooMuch:
    """Declares that nothing needs to be finite."""

    unchecked: ClassVar[Mapping[str, str]] = {"finite": "it never is"}

    def __call__(self, x: LossInput) -> LossOutput:
        return sound(x)


def jumps_where_the_policy_is_the_reference(x: LossInput) -> LossOutput:
    """Pulls at a side that is worth less than under the reference, be it by rounding."""
    assert x.reference_chosen is not None
    out = sound(x)
    chosen = x.policy_chosen.sums - x.reference_chosen.sums
    return replace(out, losses=out.losses + 50 * mx.maximum(-chosen, 0))


FAULTS: list[tuple[Loss, str, str]] = [
    (sums_the_batch, "shapes", "losses has shape () for 1 pairs, expected (1,)"),
    (returns_an_array, "shapes", "it returned array, not a LossOutput"),
    (adds_sides_of_different_lengths, "shapes", "it raised ValueError"),
    (overflows, "finite", "losses is inf where log π -0.001 and"),
    (has_a_gradient_that_is_not_finite, "finite", "the gradient of the chosen side is"),
    (stops_half_of_its_gradient, "gradient", "the gradient of pair 0, rejected side, is 0 along a direction in which"),
    (has_a_gradient_one_percent_too_large, "gradient", "chosen side, is"),
    (depends_on_nothing, "gradient", "the loss does not depend on the policy"),
    (lets_a_gradient_through_its_rewards, "rewards", "flows through chosen_rewards"),
    (lets_a_gradient_through_a_metric, "rewards", "flows through metric 'nll'"),
    (names_a_metric_as_the_trainer_does, "shapes", "its metric 'loss' has a name that is the trainer's own"),
    (divides_by_the_width, "padding", "with five more columns of padding"),
    (centres_by_the_batch, "batch", "declare `batch_independent = False`"),
    (looks_at_the_first_pair, "batch", "in another order"),
    (forgets_the_reference, "reference", "expected one value for every pair"),
    (rewards_without_the_reference, "reference", "chosen_rewards are"),
    (uses_a_reference_that_it_does_not_need, "reference", "when a reference is given"),
    (jumps_where_the_policy_is_the_reference, "rounding", "count a log-ratio within `chosen_noise`"),
    (KeepsState, "repeatable", "losses of one batch differ between two calls"),
    (throws_dice, "repeatable", "losses of one batch differ between two calls"),
    (BreaksAtItsBound, "finite", "with share=1.0"),
    (DefaultOutOfRange, "definition", "the default of beta must be above 0, got 0.0"),
    (WordOfTheSpec, "definition", "'weight'"),
    (LeavesOutTooMuch, "definition", "`unchecked` names finite"),
    (object(), "definition", "needs a docstring"),
]


@pytest.mark.parametrize(
    ("loss", "check", "message"), FAULTS, ids=[getattr(loss, "__name__", "no_loss") for loss, _, _ in FAULTS]
)
def test_a_broken_loss_is_caught_for_its_own_reason(loss: Loss, check: str, message: str) -> None:
    results = {each.check: each for each in check_loss(loss)}
    assert results[check].result == "failed", results
    assert message in results[check].detail
    first = next(each.check for each in results.values() if each.result == "failed")
    assert first == check, "nothing that is sound is blamed before it"


def test_what_a_failed_definition_or_shape_leaves_open_is_not_tried() -> None:
    assert [each.result for each in check_loss(object())] == ["failed", *["not tried"] * len(CHECKS)]
    results = {each.check: each.result for each in check_loss(returns_an_array)}
    assert {results[check] for check in CHECKS if check != "shapes"} == {"not tried"}


def test_a_loss_that_leaves_out_a_check_gives_its_reason() -> None:
    @declare(unchecked={"reference": "it has a likelihood term"})
    def anchored(x: LossInput) -> LossOutput:
        """DPO with the likelihood of the chosen answer."""
        out = sound(x)
        return replace(out, losses=out.losses - x.policy_chosen.means)

    results = {each.check: each for each in check_loss(anchored)}
    assert results["reference"].result == "declared"
    assert "it has a likelihood term" in results["reference"].detail
    assert_conforms(anchored)


def test_a_loss_that_computes_in_float32_whatever_it_is_given_conforms() -> None:
    def single(x: LossInput) -> LossOutput:
        """Casts its input."""
        out = sound(x)
        return replace(out, losses=out.losses.astype(mx.float32))

    assert_conforms(single)


def test_everything_wrong_is_raised_at_once() -> None:
    def broken(x: LossInput) -> LossOutput:
        """Wrong in two ways."""
        return replace(divides_by_the_width(x), chosen_rewards=margins(x)[0])

    with pytest.raises(AssertionError, match=r"broken does not conform:\nrewards: .*\npadding: "):
        assert_conforms(broken, "broken")


def test_the_extremes_reach_log_ratios_of_ten_thousand() -> None:
    ratios = [sum(each.policy_chosen) - sum(each.reference_chosen) for each in extreme_pairs()]
    both = [
        ratio - sum(each.policy_rejected) + sum(each.reference_rejected) for ratio, each in zip(ratios, extreme_pairs())
    ]
    assert min(both) == pytest.approx(-1e4, rel=1e-3)
    assert max(both) == pytest.approx(1e4, rel=1e-3)


def test_a_loss_that_refuses_a_combination_is_tried_with_the_others() -> None:
    @dataclass(frozen=True)
    class Picky:
        """Refuses a beta that its range allows."""

        beta: Annotated[float, Range(above=0)] = 0.1

        def __post_init__(self) -> None:
            if self.beta > 0.5:
                raise ValueError("too bold")

        def __call__(self, x: LossInput) -> LossOutput:
            return sound(x, self.beta)

    loss_class: Callable[..., Any] = Picky
    assert check_loss(loss_class)[0].detail == "2 settings to try"
    assert_conforms(loss_class)
