"""Hidden states → log-probabilities of the tokens that came, in slices of the batch, so that (N, vocabulary) logits
never exist at once, not in the backward pass either.

Where the output head is frozen, as with LoRA, ∂ log p/∂h = W[target] − softmax·W is computed in the forward pass, while
a slice's logits are there: the backward pass then is one product with the (N, D) result and costs no second exp.
Where the head is trained, a slice is recomputed in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mlx.core as mx

from prefd.daemon.worker.engine.plan import MULTIPLE

SLICE_LOGITS = 2**24
SUM_CHUNK = 256

Logits = Callable[[mx.array], mx.array]
"""(N, D) hidden states → (N, V) logits."""
Parameters = Mapping[str, mx.array]


@dataclass(frozen=True)
class Head:
    """A model's output head."""

    logits: Logits
    vocabulary: int
    trained: Callable[[], Parameters]
    """The head's trainable parameters, by name."""
    bound: Callable[[Parameters], Logits]
    """The head with these parameters in place of its own."""


def token_logprobs(head: Head, hidden: mx.array, targets: mx.array, gradients: bool) -> mx.array:
    """(N, D) hidden states, (N,) targets → (N,) float32 log p(target), differentiable if `gradients`.

    What comes is the same number, to the last bit, with and without gradients.
    """
    rows = max(MULTIPLE, SLICE_LOGITS // head.vocabulary // MULTIPLE * MULTIPLE)
    slices = [(hidden[at : at + rows], targets[at : at + rows]) for at in range(0, len(targets), rows)]
    if gradients and head.trained():
        return mx.concatenate([_recomputed(head, *each) for each in slices])
    made: list[mx.array] = []
    for states, wanted in slices:
        fixed = mx.stop_gradient(states)
        if made:  # one slice's logits are gone before the next one's are made
            (fixed,) = mx.depends([fixed], [mx.stop_gradient(made[-1])])
        made.append(
            _with_gradient(head.logits, states, fixed, wanted)
            if gradients
            else target_logprobs(head.logits, fixed, wanted)
        )
    return mx.concatenate(made)


def target_logprobs(logits_of: Logits, hidden: mx.array, targets: mx.array) -> mx.array:
    """(N,) float32: logits[target] − log Σ exp(logits)."""
    logits = logits_of(hidden).astype(mx.float32)
    chosen = mx.take_along_axis(logits, targets[:, None], axis=-1).squeeze(-1)
    return mx.minimum(chosen - logsumexp(logits), 0)  # rounding may leave a certain token at +1e-7


def _with_gradient(logits_of: Logits, hidden: mx.array, fixed: mx.array, targets: mx.array) -> mx.array:
    """`target_logprobs` whose gradient in `hidden` is computed at once and kept; `fixed` has `hidden`'s values."""

    def of(states: mx.array) -> mx.array:
        return target_logprobs(logits_of, states, targets)

    (values,), (slopes,) = mx.vjp(of, [fixed], [mx.ones(len(targets))])
    values, slopes = mx.stop_gradient(values), mx.stop_gradient(slopes).astype(mx.float32)
    linear = (hidden.astype(mx.float32) * slopes).sum(-1)
    return values + (linear - mx.stop_gradient(linear))  # the bracket is 0, its gradient is not


def _recomputed(head: Head, hidden: mx.array, targets: mx.array) -> mx.array:
    names = list(head.trained())

    def of(parameters: list[mx.array], states: mx.array) -> mx.array:
        return target_logprobs(head.bound(dict(zip(names, parameters))), states, targets)

    return mx.checkpoint(of)(list(head.trained().values()), hidden)


def logsumexp(logits: mx.array) -> mx.array:
    """(N, V) → (N,) log Σ exp, summed in two levels: at once, float32 is 1e-4 off over 49 k entries on a CPU.

    Its gradient reuses the exponentials, which are what this costs.
    """
    top = mx.stop_gradient(logits.max(axis=-1, keepdims=True))
    exponentials = mx.exp(logits - top)
    whole = logits.shape[-1] // SUM_CHUNK * SUM_CHUNK
    total = exponentials[:, whole:].sum(axis=-1)
    if whole:
        total = total + exponentials[:, :whole].reshape(len(logits), -1, SUM_CHUNK).sum(axis=-1).sum(axis=-1)
    return mx.log(total) + top.squeeze(-1)
