"""Hidden states → log-probabilities of the tokens that came, in slices of the batch, so that (N, vocabulary) logits
never exist at once, not in the backward pass either.

Where the output head is frozen, as with LoRA, ∂ log p/∂h = W[target] − softmax·W is computed in the forward pass, while
a slice's logits are there: the backward pass then costs no second exp. Where the head is trained, a slice's logits are
computed again.

There are two ways, of the same numbers but for rounding: one lazy graph, as a GPU wants it; and at once, for a CPU, where a
slice is done when its function returns: numpy takes the exponentials, and no graph holds on to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from prefd.daemon.worker.scoring.logsumexp import logsumexp, logsumexp_now
from prefd.daemon.worker.scoring.plan import MULTIPLE

SLICE_LOGITS = 2**24

Logits = Callable[[mx.array], mx.array]
"""(N, D) hidden states → (N, V) logits."""
Parameters = Mapping[str, mx.array]
Share = Callable[[mx.array], tuple[mx.array, Any]]
"""(N,) log-probabilities → a scalar, and whatever else is to come back with it."""


@dataclass(frozen=True)
class Head:
    """A model's output head."""

    logits: Logits
    vocabulary: int
    trained: Callable[[], Parameters]
    """The head's trainable parameters, by name."""
    bound: Callable[[Parameters], Logits]
    """The head with these parameters in place of its own."""

    def slices(self, hidden: mx.array, targets: mx.array) -> Iterator[tuple[mx.array, mx.array]]:
        rows = max(MULTIPLE, SLICE_LOGITS // self.vocabulary // MULTIPLE * MULTIPLE)
        for at in range(0, len(targets), rows):
            yield hidden[at : at + rows], targets[at : at + rows]


class Differentiated(NamedTuple):
    share: tuple[mx.array, Any]
    by_hidden: mx.array
    """(N, D) float32."""
    by_parameter: Parameters
    """Of the head's trainable parameters."""


def logprobs_lazily(head: Head, hidden: mx.array, targets: mx.array, gradients: bool) -> mx.array:
    """(N, D) hidden states, (N,) targets → (N,) float32 log p(target), differentiable if `gradients`.

    What comes is the same number, to the last bit, with and without gradients.
    """
    if not gradients:
        return _in_turn(head, hidden, targets, lambda _, fixed, wanted: _target_logprobs(head.logits, fixed, wanted))
    if head.trained():
        return mx.concatenate([_recomputed(head, *each) for each in head.slices(hidden, targets)])
    return _in_turn(head, hidden, targets, partial(_with_gradient, head.logits))


def logprobs_now(head: Head, hidden: mx.array, targets: mx.array) -> mx.array:
    """The same, computed when this returns."""
    return mx.concatenate([_now(head.logits, *each) for each in head.slices(hidden, targets)])


def differentiate_now(head: Head, hidden: mx.array, targets: mx.array, share: Share) -> Differentiated:
    """`share` of `logprobs_now`, and its gradients, computed when this returns. Not for use inside a trace, which would
    keep all that led to `hidden`.
    """
    if head.trained():
        shared, cotangents = mx.value_and_grad(share)(logprobs_now(head, hidden, targets))
        return Differentiated(shared, *_trained_slopes(head, hidden, targets, cotangents))
    scored = [_frozen_slopes(head.logits, *each) for each in head.slices(hidden, targets)]
    shared, cotangents = mx.value_and_grad(share)(mx.concatenate([values for values, _ in scored]))
    return Differentiated(shared, mx.concatenate([slopes for _, slopes in scored]) * cotangents[:, None], {})


def _now(logits_of: Logits, hidden: mx.array, targets: mx.array) -> mx.array:
    logits = logits_of(hidden).astype(mx.float32)
    values = _at(targets, logits, mx.array(logsumexp_now(np.array(logits, copy=False))))
    mx.eval(values)
    return values


def _frozen_slopes(logits_of: Logits, hidden: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
    """(N,) log p, the very numbers of `_now`, and (N, D) ∂ log p/∂h."""
    values, cotangents = _logit_slopes(logits_of, hidden, targets)
    _, (slopes,) = mx.vjp(lambda states: logits_of(states).astype(mx.float32), [hidden], [cotangents])
    slopes = slopes.astype(mx.float32)
    mx.eval(values, slopes)
    return values, slopes


def _trained_slopes(
    head: Head, hidden: mx.array, targets: mx.array, cotangents: mx.array
) -> tuple[mx.array, Parameters]:
    """Σ cotangent · log p's gradients in `hidden` and in the head's parameters."""
    names, parameters = list(head.trained()), list(head.trained().values())

    def logits_of(*given: mx.array) -> mx.array:
        return head.bound(dict(zip(names, given)))(given[-1]).astype(mx.float32)

    total = [mx.zeros(parameter.shape) for parameter in parameters]
    by_hidden: list[mx.array] = []
    for states, wanted in head.slices(hidden, targets):
        at = sum(map(len, by_hidden))
        _, slopes = _logit_slopes(head.logits, states, wanted)
        given = [slopes * cotangents[at : at + len(wanted), None]]
        _, (*by_parameter, by_state) = mx.vjp(logits_of, [*parameters, states], given)
        total = [one + more for one, more in zip(total, by_parameter)]
        by_hidden.append(by_state.astype(mx.float32))
        mx.eval(total, by_state)
    return mx.concatenate(by_hidden), dict(zip(names, total))


def _logit_slopes(logits_of: Logits, hidden: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
    """(N,) log p and (N, V) ∂ log p/∂ logits: 1 at the target, less the softmax."""
    logits = logits_of(hidden).astype(mx.float32)
    slopes = np.empty(logits.shape, np.float32)
    totals = logsumexp_now(np.array(logits, copy=False), slopes)
    np.negative(slopes, out=slopes)
    slopes[np.arange(len(slopes)), np.array(targets)] += 1
    return _at(targets, logits, mx.array(totals)), mx.array(slopes)


def _in_turn(
    head: Head, hidden: mx.array, targets: mx.array, of: Callable[[mx.array, mx.array, mx.array], mx.array]
) -> mx.array:
    """`of` each slice, which is given with and without its gradient. One's logits are gone before the next one's are made."""
    made: list[mx.array] = []
    for states, wanted in head.slices(hidden, targets):
        fixed = mx.stop_gradient(states)
        if made:
            (fixed,) = mx.depends([fixed], [mx.stop_gradient(made[-1])])
        made.append(of(states, fixed, wanted))
    return mx.concatenate(made)


def _target_logprobs(logits_of: Logits, hidden: mx.array, targets: mx.array) -> mx.array:
    logits = logits_of(hidden).astype(mx.float32)
    return _at(targets, logits, logsumexp(logits))


def _at(targets: mx.array, logits: mx.array, totals: mx.array) -> mx.array:
    """logits[target] − log Σ exp(logits)."""
    chosen = mx.take_along_axis(logits, targets[:, None], axis=-1).squeeze(-1)
    return mx.minimum(chosen - totals, 0)  # rounding may leave a certain token at +1e-7


def _with_gradient(logits_of: Logits, hidden: mx.array, fixed: mx.array, targets: mx.array) -> mx.array:
    """`_target_logprobs` whose gradient in `hidden` is computed at once and kept; `fixed` has `hidden`'s values."""

    def of(states: mx.array) -> mx.array:
        return _target_logprobs(logits_of, states, targets)

    (values,), (slopes,) = mx.vjp(of, [fixed], [mx.ones(len(targets))])
    values, slopes = mx.stop_gradient(values), mx.stop_gradient(slopes).astype(mx.float32)
    linear = (hidden.astype(mx.float32) * slopes).sum(-1)
    return values + (linear - mx.stop_gradient(linear))  # the bracket is 0, its gradient is not


def _recomputed(head: Head, hidden: mx.array, targets: mx.array) -> mx.array:
    names = list(head.trained())

    def of(parameters: list[mx.array], states: mx.array) -> mx.array:
        return _target_logprobs(head.bound(dict(zip(names, parameters))), states, targets)

    return mx.checkpoint(of)(list(head.trained().values()), hidden)
