"""Computes the log-probabilities of the tokens that came, from hidden states, in slices of the batch.

So (N, vocabulary) logits never exist at once, not in the backward pass either.

Where the output head is frozen, as with LoRA, ∂ log p/∂h = W[target] − softmax·W is computed in the forward pass, while
a slice's logits are there: the backward pass then costs no second exp. Where the head is trained, a slice's logits are
computed again.

There are two ways, of the same numbers but for rounding: one lazy graph, as a GPU wants it; and at once, for a CPU, where a
slice is done when its function returns: numpy takes the exponentials, and no graph holds on to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from prefd.daemon.worker.scoring.logsumexp import logsumexp, logsumexp_now, measure_distribution
from prefd.daemon.worker.scoring.plan import MULTIPLE

SLICE_LOGITS = 2**24
MEASURES = 3

Logits = Callable[[mx.array], mx.array]
"""(N, D) hidden states → (N, V) logits."""
Parameters = Mapping[str, mx.array]
Share = Callable[[mx.array], tuple[mx.array, Any]]
"""(N,) log-probabilities → a scalar, and whatever else is to come back with it."""


@dataclass(frozen=True)
class Head:
    """Head is a model's output head."""

    logits: Logits
    vocabulary: int
    trained: Callable[[], Parameters]
    """The head's trainable parameters, by name."""
    bound: Callable[[Parameters], Logits]
    """The head with these parameters in place of its own."""
    measured: bool = False
    """Whether a target has four numbers in place of one: log p(target), and three of the distribution that it was predicted by
    (`measure_distribution`), without gradient."""
    fused: bool = False
    """Whether lazy log-probabilities are one fused kernel's, which has to be exact on this device (`fused_head`)."""
    slice_logits: int = SLICE_LOGITS
    """Logits that are there at a time, at most, or those of MULTIPLE targets."""

    def slices(self, hidden: mx.array, targets: mx.array) -> Iterator[tuple[mx.array, mx.array]]:
        """Cut (N, D) hidden states and (N,) targets into pieces of few logits."""
        rows = max(MULTIPLE, self.slice_logits // self.vocabulary // MULTIPLE * MULTIPLE)
        for begin in range(0, len(targets), rows):
            yield hidden[begin : begin + rows], targets[begin : begin + rows]


class Differentiated(NamedTuple):
    """Differentiated holds what `differentiate_now` returns: the value, and its gradients."""

    share: tuple[mx.array, Any]
    by_hidden: mx.array
    """(N, D) float32: the gradient in the hidden states."""
    by_parameter: Parameters
    """The gradients in the head's trainable parameters, by name."""


def logprobs_lazily(head: Head, hidden: mx.array, targets: mx.array, gradients: bool) -> mx.array:
    """Compute (N, D) hidden states, (N,) targets → (N,) float32 log p(target), differentiable if `gradients`.

    Of a head that is `measured`, (N, 4). The result is the same number, to the last bit, with and without gradients.
    """
    if not gradients:
        return _compute_in_turn(
            head,
            hidden,
            targets,
            lambda _, fixed_states, slice_targets: _compute_logprobs(head, head.logits, fixed_states, slice_targets),
        )
    if head.trained():
        return mx.concatenate([_compute_with_checkpoint(head, *each) for each in head.slices(hidden, targets)])
    return _compute_in_turn(head, hidden, targets, partial(_compute_with_gradient, head))


def logprobs_now(head: Head, hidden: mx.array, targets: mx.array) -> mx.array:
    """Compute (N, D) hidden states, (N,) targets → (N,) float32 log p(target), at once; (N, 4) of a head that is `measured`."""
    return mx.concatenate([_compute_now(head, *each) for each in head.slices(hidden, targets)])


def differentiate_now(head: Head, hidden: mx.array, targets: mx.array, share: Share) -> Differentiated:
    """Compute `share` of `logprobs_now` and its gradients, at once.

    Not for use inside a trace, which would keep all that led to `hidden`.
    """
    if head.trained():
        value, cotangents = mx.value_and_grad(share)(logprobs_now(head, hidden, targets))
        return Differentiated(value, *_differentiate_trained(head, hidden, targets, _take_logprobs(cotangents)))
    scores_and_slopes = [_differentiate_frozen(head, *each) for each in head.slices(hidden, targets)]
    value, cotangents = mx.value_and_grad(share)(mx.concatenate([values for values, _ in scores_and_slopes]))
    slopes = mx.concatenate([slopes for _, slopes in scores_and_slopes])
    return Differentiated(value, slopes * _take_logprobs(cotangents)[:, None], {})


def _take_logprobs(scores: mx.array) -> mx.array:
    """Take what is of log p(target), (N,), from what there is of each target."""
    return scores if scores.ndim == 1 else scores[:, 0]


def _compute_now(head: Head, hidden: mx.array, targets: mx.array) -> mx.array:
    logits = head.logits(hidden).astype(mx.float32)
    values, _ = _score_logits(head, logits, targets)
    mx.eval(values)
    return values


def _score_logits(
    head: Head, logits: mx.array, targets: mx.array, softmax: np.ndarray[Any, Any] | None = None
) -> tuple[mx.array, mx.array]:
    """Compute what there is of each target from (N, V) logits, and its log p alone; the softmax goes into `softmax`."""
    measures = np.empty((len(targets), MEASURES), np.float32) if head.measured else None
    totals = logsumexp_now(np.array(logits, copy=False), softmax, measures)
    values = _pick_targets(targets, logits, mx.array(totals))
    return values if measures is None else mx.concatenate([values[:, None], mx.array(measures)], axis=-1), values


def _differentiate_frozen(head: Head, hidden: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
    """Compute (N,) log p, the very numbers of `_compute_now`, and (N, D) ∂ log p/∂h."""
    values, cotangents = _differentiate_logits(head, hidden, targets)
    _, (slopes,) = mx.vjp(lambda states: head.logits(states).astype(mx.float32), [hidden], [cotangents])
    slopes = slopes.astype(mx.float32)
    mx.eval(values, slopes)
    return values, slopes


def _differentiate_trained(
    head: Head, hidden: mx.array, targets: mx.array, cotangents: mx.array
) -> tuple[mx.array, Parameters]:
    """Compute Σ cotangent · log p's gradients in `hidden` and in the head's parameters."""
    names, parameters = list(head.trained()), list(head.trained().values())

    def logits_of(*arguments: mx.array) -> mx.array:
        return head.bound(dict(zip(names, arguments)))(arguments[-1]).astype(mx.float32)

    total = [mx.zeros(parameter.shape) for parameter in parameters]
    by_hidden: list[mx.array] = []
    for states, slice_targets in head.slices(hidden, targets):
        begin = sum(map(len, by_hidden))
        _, slopes = _differentiate_logits(replace(head, measured=False), states, slice_targets)
        arguments = [slopes * cotangents[begin : begin + len(slice_targets), None]]
        _, (*by_parameter, by_state) = mx.vjp(logits_of, [*parameters, states], arguments)
        total = [sum_so_far + gradient for sum_so_far, gradient in zip(total, by_parameter)]
        by_hidden.append(by_state.astype(mx.float32))
        mx.eval(total, by_state)
    return mx.concatenate(by_hidden), dict(zip(names, total))


def _differentiate_logits(head: Head, hidden: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
    """Compute (N,) log p and (N, V) ∂ log p/∂ logits: 1 at the target, less the softmax."""
    logits = head.logits(hidden).astype(mx.float32)
    slopes = np.empty(logits.shape, np.float32)
    values, _ = _score_logits(head, logits, targets, slopes)
    np.negative(slopes, out=slopes)
    slopes[np.arange(len(slopes)), np.array(targets)] += 1
    return values, mx.array(slopes)


def _compute_in_turn(
    head: Head, hidden: mx.array, targets: mx.array, compute: Callable[[mx.array, mx.array, mx.array], mx.array]
) -> mx.array:
    """Call `compute` on each slice, with and without its gradient: a slice's logits are gone before the next one's come."""
    slices: list[mx.array] = []
    for states, slice_targets in head.slices(hidden, targets):
        fixed_states = mx.stop_gradient(states)
        if slices:
            (fixed_states,) = mx.depends([fixed_states], [mx.stop_gradient(slices[-1])])
        slices.append(compute(states, fixed_states, slice_targets))
    return mx.concatenate(slices)


def _compute_logprobs(head: Head, logits_of: Logits, hidden: mx.array, targets: mx.array) -> mx.array:
    logits = logits_of(hidden)
    if head.fused:
        values = mx.minimum(-mx.fast.cross_entropy(logits, targets), 0)
    else:
        logits = logits.astype(mx.float32)
        values = _pick_targets(targets, logits, logsumexp(logits))
    if not head.measured:
        return values
    return mx.concatenate([values[:, None], measure_distribution(logits.astype(mx.float32))], axis=-1)


def _pick_targets(targets: mx.array, logits: mx.array, totals: mx.array) -> mx.array:
    """Compute logits[target] − log Σ exp(logits)."""
    chosen = mx.take_along_axis(logits, targets[:, None], axis=-1).squeeze(-1)
    return mx.minimum(chosen - totals, 0)  # rounding may leave a certain token at +1e-7


def _compute_with_gradient(head: Head, hidden: mx.array, fixed_states: mx.array, targets: mx.array) -> mx.array:
    """Compute log p whose gradient in `hidden` is computed at once and kept; `fixed_states` has `hidden`'s values."""

    def compute(states: mx.array) -> mx.array:
        return _compute_logprobs(head, head.logits, states, targets)

    ones = mx.ones(len(targets))
    if head.measured:  # of the measures, whose gradient is 0, none is asked for
        ones = mx.pad(ones[:, None], [(0, 0), (0, MEASURES)])
    (values,), (slopes,) = mx.vjp(compute, [fixed_states], [ones])
    values, slopes = mx.stop_gradient(values), mx.stop_gradient(slopes).astype(mx.float32)
    linear = (hidden.astype(mx.float32) * slopes).sum(-1)
    nothing = linear - mx.stop_gradient(linear)  # it is 0, its gradient is not
    return values + (mx.pad(nothing[:, None], [(0, 0), (0, MEASURES)]) if head.measured else nothing)


def _compute_with_checkpoint(head: Head, hidden: mx.array, targets: mx.array) -> mx.array:
    names = list(head.trained())

    def compute(parameters: list[mx.array], states: mx.array) -> mx.array:
        return _compute_logprobs(head, head.bound(dict(zip(names, parameters))), states, targets)

    return mx.checkpoint(compute)(list(head.trained().values()), hidden)
