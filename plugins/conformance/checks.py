"""Checks a loss, a function a check: each calls the loss in all its settings, and says what it tried.

Gradients are those of float32, which training uses, compared with differences of the value in float64 (on the CPU, where
MLX has it) to a thousandth of the batch's largest.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import mlx.core as mx

from prefd.plugins.conformance.kinks import jumps_at_reference
from prefd.plugins.conformance.probes import PairRows, extreme_pairs, loss_input, random_pairs
from prefd.plugins.metrics import TRAINERS_METRICS
from prefd.plugins.schema import LossSchema
from prefd.plugins.types import LossInput, LossOutput

Function = Callable[[LossInput], LossOutput]
Result = Literal["ok", "failed", "declared", "not tried"]

STEPS = (1e-5, 1e-3, 1e-2)  # nats; the wider ones are for a loss that computes in float32 whatever it is given
GRADIENT_TOLERANCE = 1e-3  # of the largest directional derivative of the batch
SAME = 1e-5  # relative: float32 sums in another order


@dataclass(frozen=True)
class Finding:
    """Finding says what one check found. `detail` says what was tried, or what is wrong and with which values."""

    check: str
    result: Result
    detail: str


class Fault(Exception):
    """Fault is a check that failed. The message is for the loss's author."""


@dataclass(frozen=True)
class Subject:
    """Subject is the loss under test, ready to be called with each of several settings."""

    schema: LossSchema
    settings: Sequence[tuple[str, Function]]
    """(the parameters in words; the loss with them): the defaults first."""
    unchecked: Mapping[str, str]
    """Checks that the loss declares not to apply, with its reason."""

    def input(self, pairs: Sequence[PairRows], padding: int = 0, dtype: mx.Dtype = mx.float32) -> LossInput:
        """Makes a batch of `pairs`, with the reference if the loss needs one."""
        return loss_input(pairs, self.schema.needs_reference, padding, dtype, self.schema.unpaired)


def shapes(subject: Subject) -> str:
    """One loss, one reward a side and one of each metric for every pair, whatever the number of pairs."""
    for setting, loss in subject.settings:
        for count in (1, 3):
            out = loss(subject.input(random_pairs(count, count)))
            if not isinstance(out, LossOutput):
                raise Fault(f"it returned {type(out).__name__}, not a LossOutput, with {setting}")
            if reserved := sorted(TRAINERS_METRICS & out.metrics.keys()):
                raise Fault(f"its metric {reserved[0]!r} has a name that is the trainer's own, with {setting}")
            for name, values in _list_arrays(out).items():
                if not isinstance(values, mx.array) or values.shape != (count,):
                    shape = getattr(values, "shape", type(values).__name__)
                    raise Fault(f"{name} has shape {shape} for {count} pairs, expected ({count},), with {setting}")
            if not mx.issubdtype(out.losses.dtype, mx.floating):
                raise Fault(f"losses are of {out.losses.dtype}, expected a floating dtype, with {setting}")
    return "1 and 3 pairs, the sides of different lengths"


def repeatable(subject: Subject) -> str:
    """The same batch gives the same numbers again: nothing is kept from call to call, and no dice are thrown."""
    for setting, loss in subject.settings:
        x, other = subject.input(random_pairs(0)), subject.input(random_pairs(1))
        before = loss(x)
        mx.eval(before.losses)
        loss(other)
        after = loss(x)
        for name, values in _list_arrays(before).items():
            if not mx.array_equal(values, _list_arrays(after)[name], equal_nan=True):
                raise Fault(f"{name} of one batch differ between two calls, with {setting}: a resumed job would too")
    return "the same batch twice, another between"


def finite(subject: Subject) -> str:
    """No NaN and no infinity in value or gradient, for log-ratios from −1e4 to 1e4."""
    pairs = extreme_pairs()
    x = subject.input(pairs)
    for setting, loss in subject.settings:
        out = loss(x)
        for name, values in _list_arrays(out).items():
            _require_finite(name, values.astype(mx.float32), pairs, setting)
        for side, gradient in zip(("chosen", "rejected"), _compute_gradients(loss, x)):
            _require_finite(f"the gradient of the {side} side", gradient.sum(axis=-1), pairs, setting)
    return f"{len(pairs)} pairs, log-ratios from -1e4 to 1e4"


def _require_finite(name: str, values: mx.array, pairs: Sequence[PairRows], setting: str) -> None:
    for value, pair in zip(_numbers(values), pairs):
        if not math.isfinite(value):
            raise Fault(f"{name} is {value} where {pair}; with {setting}")


def gradient(subject: Subject) -> str:
    """The gradient is the derivative of the value, for every pair and side."""
    moves = False
    for setting, loss in subject.settings:
        for seed in (0, 1):
            pairs = random_pairs(seed)
            single = subject.input(pairs)
            double = subject.input(pairs, dtype=mx.float64)
            slopes = list(_measure_slopes(loss, single, seed))
            moves |= any(slope for _, _, slope in slopes)
            scale = max(max(abs(slope) for _, _, slope in slopes), 1e-6)
            for label, direction, slope in slopes:
                differences = [_measure_difference(loss, double, direction, step) for step in STEPS]
                if all(not abs(each - slope) <= GRADIENT_TOLERANCE * max(scale, abs(each)) for each in differences):
                    raise Fault(
                        f"the gradient of {label} is {slope:.6g} along a direction in which the loss changes by "
                        f"{differences[0]:.6g}, with {setting}"
                    )
    if not moves:
        raise Fault("the gradient is zero everywhere: the loss does not depend on the policy")
    return f"{len(subject.settings)} settings, 8 pairs, float32 against differences in float64"


Direction = tuple[mx.array, mx.array]
"""How far each token moves: (B, T) of the chosen and of the rejected side."""


def _measure_slopes(loss: Function, x: LossInput, seed: int) -> list[tuple[str, Direction, float]]:
    """Measures, for each pair and side, the derivative along a random direction that moves only its tokens.

    Each comes with the name of the side and the direction.
    """
    dice = random.Random(seed)
    gradients = _compute_gradients(loss, x)
    masks = (x.policy_chosen.mask, x.policy_rejected.mask)
    slopes = []
    for side, name in enumerate(("chosen", "rejected")):
        rows, width = masks[side].shape
        for row in range(rows):
            step = mx.array(
                [[dice.gauss(0.0, 1.0) if index == row else 0.0 for _ in range(width)] for index in range(rows)]
            )
            parts = [mx.zeros_like(mask) for mask in masks]
            parts[side] = step * masks[side]
            slope = _number((gradients[side] * parts[side]).sum())
            slopes.append((f"pair {row}, {name} side,", (parts[0], parts[1]), slope))
    return slopes


def _measure_difference(loss: Function, x: LossInput, direction: Direction, step: float) -> float:
    """Measures the central difference of the sum of losses along `direction`."""

    def value(distance: float) -> float:
        chosen, rejected = (
            side._replace(tokens=side.tokens + distance * move.astype(side.tokens.dtype))
            for side, move in zip((x.policy_chosen, x.policy_rejected), direction)
        )
        out = loss(replace(x, policy_chosen=chosen, policy_rejected=rejected))
        return _number(out.losses.sum())

    return (value(step) - value(-step)) / (2 * step)


def rewards(subject: Subject) -> str:
    """No gradient flows through rewards or metrics."""
    x = subject.input(random_pairs(0))
    for setting, loss in subject.settings:
        for name in list(_list_arrays(loss(x)))[1:]:

            def one(batch: LossInput, loss: Function = loss, name: str = name) -> mx.array:
                values: mx.array = _list_arrays(loss(batch))[name]
                return values

            if any(mx.any(each != 0).item() for each in _compute_gradients(one, x)):
                raise Fault(f"a gradient flows through {name}, with {setting}: wrap it in mx.stop_gradient")
    return "no gradient through them or the metrics"


def padding(subject: Subject) -> str:
    """Wider padding changes nothing: tokens are weighed by the mask."""
    pairs = random_pairs(2)
    for setting, loss in subject.settings:
        narrow, wide = loss(subject.input(pairs)), loss(subject.input(pairs, padding=5))
        for name, values in _list_arrays(narrow).items():
            _require_same(name, values, _list_arrays(wide)[name], f"with five more columns of padding, with {setting}")
    return "five more columns"


def batch(subject: Subject) -> Finding | str:
    """A pair's numbers do not depend on the pairs beside it; where the loss says they do, on their order at least not."""
    pairs = random_pairs(3, 6)
    for setting, loss in subject.settings:
        together = loss(subject.input(pairs))
        if not subject.schema.batch_independent:
            reversed_batch = loss(subject.input(pairs[::-1]))
            _require_same(
                "the mean loss",
                together.losses.mean()[None],
                reversed_batch.losses.mean()[None],
                f"in another order, {setting}",
            )
            continue
        for row, pair in enumerate(pairs):
            alone = _list_arrays(loss(subject.input([pair])))
            for name, values in _list_arrays(together).items():
                _require_same(name, values[row][None], alone[name], f"for the pair alone, with {setting}", BATCH_REMEDY)
    if not subject.schema.batch_independent:
        return Finding("batch", "declared", "the loss depends on the batch, as it says; not on its order")
    return "each of 6 pairs alone and together"


BATCH_REMEDY = "; if that is meant, declare `batch_independent = False`"


def reference(subject: Subject) -> str:
    """Says where the policy is the reference, every pair has one loss and rewards of 0; without a reference, it is ignored."""
    pairs = random_pairs(4)
    if not subject.schema.needs_reference:
        for setting, loss in subject.settings:
            without_reference, with_reference = (
                loss(loss_input(pairs, has_one, unpaired=subject.schema.unpaired)) for has_one in (False, True)
            )
            _require_same(
                "losses", without_reference.losses, with_reference.losses, f"when a reference is given, with {setting}"
            )
        return "it takes none, and ignores one that is there"
    equal_pairs = [
        replace(pair, reference_chosen=pair.policy_chosen, reference_rejected=pair.policy_rejected) for pair in pairs
    ]
    values = []
    for setting, loss in subject.settings:
        out = loss(subject.input(equal_pairs))
        for name in ("chosen_rewards", "rejected_rewards"):
            if any(abs(value) > SAME for value in _numbers(getattr(out, name))):
                raise Fault(
                    f"{name} are {_list(getattr(out, name))} where the policy is the reference, expected 0, with {setting}"
                )
        for losses in _split_by_label(out.losses, subject.input(equal_pairs).desirable):
            if not _are_close(losses, mx.broadcast_to(losses[:1], losses.shape)):
                raise Fault(
                    f"losses are {_list(out.losses)} where the policy is the reference, expected one value for every pair, with "
                    f"{setting}; if the loss has a term that is no log-ratio, say so in `unchecked`"
                )
        values.append(_numbers(out.losses)[0])
    return f"the loss is {values[0]:.6g} where the policy is the reference"


def _split_by_label(losses: mx.array, desirable: mx.array | None) -> list[mx.array]:
    """Splits the losses of answers into those of good ones and of bad ones; losses of pairs are all of one kind."""
    if desirable is None:
        return [losses]
    labels = cast("list[bool]", desirable.tolist())
    numbers = _numbers(losses)
    return [mx.array([n for n, each in zip(numbers, labels) if each is label]) for label in set(labels)]


def rounding(subject: Subject) -> str:
    """Rounding decides no gradient: it does not jump where the policy is the reference, within `LossInput.noise`."""
    if not subject.schema.needs_reference:
        return "it takes no reference"
    for setting, loss in subject.settings:
        if jumps_at_reference(loss, subject.schema.unpaired):
            raise Fault(
                "the gradient jumps where the policy is the reference, so rounding decides it there, with "
                f"{setting}: count a log-ratio within `chosen_noise` and `rejected_noise` of LossInput as 0"
            )
    return "no jump of the gradient within the noise of a log-ratio of 0"


CHECKS: dict[str, Callable[[Subject], Finding | str]] = {
    "shapes": shapes,
    "repeatable": repeatable,
    "finite": finite,
    "gradient": gradient,
    "rewards": rewards,
    "padding": padding,
    "batch": batch,
    "reference": reference,
    "rounding": rounding,
}


# --- arrays


def _list_arrays(out: LossOutput) -> dict[str, Any]:
    """Lists the arrays of a loss's output by name, `losses` first."""
    own = {"losses": out.losses, "chosen_rewards": out.chosen_rewards, "rejected_rewards": out.rejected_rewards}
    return own | {f"metric {name!r}": values for name, values in out.metrics.items()}


def _compute_gradients(function: Callable[[LossInput], LossOutput | mx.array], x: LossInput) -> Direction:
    """Computes the gradient of the sum of losses (or of the array that `function` gives), by each side's tokens."""

    def total(chosen: mx.array, rejected: mx.array) -> mx.array:
        sides = x.policy_chosen._replace(tokens=chosen), x.policy_rejected._replace(tokens=rejected)
        out = function(replace(x, policy_chosen=sides[0], policy_rejected=sides[1]))
        values = out.losses if isinstance(out, LossOutput) else out
        return values.astype(mx.float32).sum()

    gradients: Direction = mx.grad(total, argnums=(0, 1))(x.policy_chosen.tokens, x.policy_rejected.tokens)
    return gradients


def _numbers(values: mx.array) -> list[float]:
    return cast("list[float]", values.tolist())


def _number(value: mx.array) -> float:
    return cast("float", value.item())


def _list(values: mx.array) -> str:
    return ", ".join(f"{value:.6g}" for value in _numbers(values))


def _are_close(one: mx.array, other: mx.array) -> bool:
    pairs = zip(_numbers(one), _numbers(other))
    return all(abs(a - b) <= SAME * max(1.0, abs(a), abs(b)) for a, b in pairs)


def _require_same(name: str, one: mx.array, other: mx.array, when: str, remedy: str = "") -> None:
    if not _are_close(one, other):
        raise Fault(f"{name}: {_list(one)} becomes {_list(other)} {when}{remedy}")
