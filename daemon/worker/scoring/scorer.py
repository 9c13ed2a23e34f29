"""Computes per-token log-probabilities of completions: the one function that scores the reference and the policy.

No work is done that is not needed: a prompt runs once for all its answers, and logits exist only where an answer's
token is predicted, a slice at a time. How it is done is `engine/`; that it is right for the architecture at hand is
tried by `choose.fastest_scorer`, which makes every `Scorer`, and where it is not, the next simpler way is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_map_with_path

from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring import plan
from prefd.daemon.worker.scoring.head import Head, differentiate_now, logprobs_lazily, logprobs_now
from prefd.daemon.worker.scoring.plan import Branch, Slack, Stem
from prefd.daemon.worker.scoring.prefix import make_caches, taken, takes_padding
from prefd.daemon.worker.scoring.trunk import Parts, in_pieces
from prefd.plugins.types import Logprobs

Share = Callable[[Logprobs], tuple[mx.array, Any]]
"""Log-probabilities → a scalar, and whatever else is to come back with it."""


def on_gpu() -> bool:
    return bool(mx.default_device() == mx.gpu)


@dataclass(frozen=True)
class Options:
    """How a scorer goes about it; nothing here changes a number by more than rounding."""

    slack: Slack = field(default_factory=lambda: plan.GPU if on_gpu() else plan.CPU)
    """Which sequences are batched. `plan.CPU` is narrowed to what changes no bit, where there is such a part of it."""
    lazily: bool = field(default_factory=lambda: on_gpu())
    """Forward and backward pass as one graph; else the head is computed at once, between the trunk's two passes."""
    chunk_tokens: int | None = None
    """Longer prompts and answers run in pieces of this size, each again in the backward pass."""
    checkpoint_layers: bool = False
    """Keep only each layer's input for the backward pass: a quarter of the memory for 1.4 times the time."""

    @classmethod
    def of(cls, spec: JobSpec) -> Options:
        """What a job asks for. Its reference runs in the same pieces as its policy, so that their numbers are the same."""
        training = spec.training or TrainingSpec()
        longer = spec.data.max_length > training.chunk_tokens
        return cls(chunk_tokens=training.chunk_tokens if longer else None, checkpoint_layers=training.grad_checkpoint)


@dataclass(frozen=True)
class _Work:
    """Completions and the plan by which they run."""

    completions: Sequence[Completion]
    stems: list[Stem]

    @property
    def branches(self) -> list[Branch]:
        return [branch for stem in self.stems for branch in stem.branches]

    @property
    def targets(self) -> mx.array:
        """(N,) in the order in which they are computed."""
        return mx.array(np.concatenate([branch.targets for branch in self.branches]))

    def table(self, values: mx.array) -> Logprobs:
        """(N,) values in the order they were computed → rows in the order of `completions`, 0 behind each end."""
        lengths = np.array([len(one.ids) - one.start for one in self.completions])
        table = np.full((len(lengths), int(lengths.max())), len(values), dtype=np.int32)  # the zero at the end
        mask = np.arange(table.shape[1]) < lengths[:, None]
        begin = 0
        for branch in self.branches:
            for row in branch.rows:
                table[row, : lengths[row]] = np.arange(begin, begin + lengths[row])
                begin += lengths[row]
        filled = mx.concatenate([values, mx.zeros(1)])
        return Logprobs(filled[mx.array(table)], mx.array(mask.astype(np.float32)))


@dataclass(frozen=True)
class Scorer:
    """Scores completions under `model` as it is at the time of the call."""

    model: nn.Module
    parts: Parts | None
    """None: the trunk is not to be had apart, and logits are computed at every position."""
    shares_prompts: bool
    vocabulary: int
    options: Options
    same_bits: bool = False
    """In all that was tried, a completion's numbers were the same to the last bit whatever ran beside it."""
    grouped: bool = False
    """Masks of unlike prompts have another axis (JoinedKV), as the soft cap of gemma2's attention needs."""

    def describe(self) -> str:
        if self.parts is None:
            return (
                "logits at every position, whole (no faster way holds for this architecture: chunk_tokens and "
                "grad_checkpoint do nothing)"
            )
        return f"logits at answers only; {self.describe_sharing()}{self._describe_batches()}"

    def describe_sharing(self) -> str:
        """Whether a prompt runs once for all its answers, in words."""
        return "prompts shared" if self.shares_prompts else "prompts not shared"

    def _describe_batches(self) -> str:
        if self.options.lazily or not self.options.slack.share:
            return ""
        return "; batched to the same bits" if self.same_bits else "; batched to rounding, with this BLAS's kernels"

    def logprobs(self, completions: Sequence[Completion]) -> Logprobs:
        """Log-probability of every completion token given what is before it, in nats.

        Returns (B, T) float32 tokens and mask, T the longest completion.
        """
        work = self._plan(completions)
        states = self._states(work, gradients=False)
        if self.options.lazily:
            return work.table(logprobs_lazily(self._head(), states, work.targets, gradients=False))
        return work.table(logprobs_now(self._head(), states, work.targets))

    def value_and_grad(self, completions: Sequence[Completion], share: Share) -> tuple[tuple[mx.array, Any], Any]:
        """`share` of `logprobs(completions)`, and the gradient of its scalar in the model's trainable parameters.

        The numbers are those of `logprobs`, to the last bit. As `nn.value_and_grad` returns them: ((scalar, whatever else),
        a tree of arrays).
        """
        work = self._plan(completions)
        if not self.options.lazily:
            return self._through_the_head_first(work, share)

        def whole() -> tuple[mx.array, Any]:
            states = self._states(work, gradients=True)
            return share(work.table(logprobs_lazily(self._head(), states, work.targets, gradients=True)))

        made: tuple[tuple[mx.array, Any], Any] = nn.value_and_grad(self.model, whole)()
        return made

    def _through_the_head_first(self, work: _Work, share: Share) -> tuple[tuple[mx.array, Any], Any]:
        """The trunk's gradient is traced with cotangents that are filled in when the head's are known.

        So the head can be computed outside of any trace, and the trunk's forward pass keeps only what its backward pass needs.
        """

        def pulled() -> tuple[mx.array, tuple[mx.array, mx.array]]:
            states = self._states(work, gradients=True)
            cotangents = mx.array(np.zeros(states.shape, np.float32))
            return (states.astype(mx.float32) * cotangents).sum(), (states, cotangents)

        (_, (states, cotangents)), gradients = nn.value_and_grad(self.model, pulled)()
        mx.eval(states, cotangents)
        shared, by_state, by_parameter = differentiate_now(
            self._head(), states, work.targets, lambda values: share(work.table(values))
        )
        np.array(cotangents, copy=False)[:] = np.array(by_state)
        return shared, tree_map_with_path(
            lambda name, slope: slope + by_parameter[name] if name in by_parameter else slope, gradients
        )

    def _plan(self, completions: Sequence[Completion]) -> _Work:
        if self.shares_prompts:
            slack = self.options.slack
            if not (slack.unlike_prompts and takes_padding(make_caches(self.model))):
                slack = replace(slack, share=0.0)
            return _Work(completions, plan.shared(completions, self.options.slack, slack))
        return _Work(completions, plan.apart(completions, self.options.slack))

    def _states(self, work: _Work, gradients: bool) -> mx.array:
        """(N, D) hidden states that predict the work's targets."""
        return mx.concatenate([hidden for stem in work.stems for hidden in self._hidden(stem, gradients)])

    def _head(self) -> Head:
        if self.parts is None:
            return Head(lambda logits: logits, self.vocabulary, dict, lambda _: lambda logits: logits)
        return self.parts.head(self.vocabulary)

    def _hidden(self, stem: Stem, gradients: bool) -> list[mx.array]:
        """For each branch, the (n, D) hidden states that predict its targets."""
        caches = None
        if stem.tokens.size:
            padding = mx.array(stem.padding) if stem.padding.any() else None
            caches = make_caches(self.model, padding, self.grouped)
            self.run(mx.array(stem.tokens), caches, gradients)
        made = []
        for branch in stem.branches:
            own = None if caches is None else taken(caches, mx.array(branch.stem_rows), len(stem.tokens))
            hidden = self.run(mx.array(branch.tokens), own, gradients)
            made.append(hidden.reshape(-1, hidden.shape[-1])[mx.array(branch.places)])
        return made

    def run(self, tokens: mx.array, caches: list[Any] | None, gradients: bool) -> mx.array:
        """(b, L) → (b, L, D), `caches` taken further by it."""
        module = self.model if self.parts is None else self.parts.trunk
        trunk: Any = module
        if self.parts is not None and gradients and self.options.checkpoint_layers:
            trunk = self.parts.checkpointed()
        size = self.options.chunk_tokens
        if size is None or tokens.shape[1] <= size:
            hidden: mx.array = trunk(tokens, cache=caches) if caches is not None else trunk(tokens)
            return hidden
        known = {"cache": make_caches(self.model) if caches is None else caches}
        pieces = [tokens[:, begin : begin + size] for begin in range(0, tokens.shape[1], size)]
        if not gradients:
            return mx.concatenate([trunk(piece, **known) for piece in pieces], axis=1)
        return in_pieces(trunk, module, pieces, known)
