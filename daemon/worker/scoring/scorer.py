"""Computes per-token log-probabilities of completions: the one function that scores the reference and the policy.

No work is done that is not needed: a prompt runs once for all its answers, and logits exist only where an answer's
token is predicted, a slice at a time. `plan.py` batches the tokens, `trunk.py` and `head.py` run the model. Every `Scorer` is
made by `choose.fastest_scorer`, which tries whether that is right for the architecture at hand, and takes the next simpler
way where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_map, tree_map_with_path

from prefd.daemon.runs.batch_record import BatchSettings
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring import fused_head, plan
from prefd.daemon.worker.scoring.head import Head, differentiate_now, logprobs_lazily, logprobs_now
from prefd.daemon.worker.scoring.plan import Branch, Slack, Stem
from prefd.daemon.worker.scoring.prefix import can_pad, make_caches, take_rows
from prefd.daemon.worker.scoring.trunk import Parts, run_in_pieces
from prefd.plugins.types import Logprobs, MeasuredLogprobs, TokenDistribution

Share = Callable[[Logprobs], tuple[mx.array, Any]]
"""Log-probabilities → a scalar, and whatever else is to come back with it."""


def is_on_gpu() -> bool:
    """Say whether MLX computes on a GPU."""
    return bool(mx.default_device() == mx.gpu)


def is_on_metal() -> bool:
    """Say whether MLX computes on a Mac's GPU."""
    return is_on_gpu() and mx.metal.is_available()


def choose_slack() -> Slack:
    """Choose which sequences share a batch on this device."""
    return plan.METAL if is_on_metal() else plan.CUDA if is_on_gpu() else plan.CPU


@dataclass(frozen=True)
class Options:
    """Options says how a scorer runs the model; nothing here changes a number by more than rounding."""

    slack: Slack = field(default_factory=lambda: choose_slack())
    """Which sequences are batched. `plan.CPU` is narrowed to what changes no bit, where there is such a part of it."""
    lazily: bool = field(default_factory=lambda: is_on_gpu())
    """Forward and backward pass as one graph; else the head is computed at once, between the trunk's two passes."""
    as_trained: bool = field(default_factory=lambda: is_on_metal())
    """Score with the kernels that a gradient's trace takes: Metal's attention is one fused kernel without a trace, and rounds
    otherwise under it, which in half precision is 0.05 nats a token between a reference and the policy that it started as."""
    chunk_tokens: int | None = None
    """Longer prompts and answers run in pieces of this size, each again in the backward pass."""
    fused_head: bool = field(default_factory=lambda: is_on_gpu())
    """Take the device's fused cross-entropy in lazy graphs, where it is exact (`fused_head.is_exact`)."""
    measured: bool = False
    """Compute `Logprobs.distribution` too: three numbers of the distribution that each token was predicted by."""
    checkpoint_layers: bool = False
    """Keep only each layer's input for the backward pass: a quarter of the memory for 1.4 times the time."""

    @classmethod
    def from_spec(cls, spec: JobSpec, chosen: BatchSettings | None = None) -> Options:
        """Take the options from a job's spec, or from what was `chosen` for this machine's memory where the spec leaves it open.

        Without a choice, the reference runs in the pieces that the spec has for its policy, to the same numbers.
        """
        sizes = chosen or spec.training or TrainingSpec()
        exceeds_a_chunk = spec.data.max_length > sizes.chunk_tokens
        return cls(
            chunk_tokens=sizes.chunk_tokens if exceeds_a_chunk else None, checkpoint_layers=sizes.grad_checkpoint
        )


@dataclass(frozen=True)
class _PlannedBatch:
    """Completions and the plan by which they run."""

    completions: Sequence[Completion]
    stems: list[Stem]

    @property
    def branches(self) -> list[Branch]:
        return [branch for stem in self.stems for branch in stem.branches]

    @property
    def targets(self) -> mx.array:
        """Return the tokens to predict, (N,), in the order in which they are computed."""
        return mx.array(np.concatenate([branch.targets for branch in self.branches]))

    def table(self, values: mx.array) -> Logprobs:
        """Sort (N,) values, in the order they were computed, into rows in the order of `completions`, 0 behind each end.

        (N, 4) values are log-probabilities and what was measured of the distributions.
        """
        lengths = np.array([len(completion.ids) - completion.start for completion in self.completions])
        positions = np.full((len(lengths), int(lengths.max())), len(values), dtype=np.int32)  # the zero at the end
        mask = np.arange(positions.shape[1]) < lengths[:, None]
        begin = 0
        for branch in self.branches:
            for row in branch.rows:
                positions[row, : lengths[row]] = np.arange(begin, begin + lengths[row])
                begin += lengths[row]
        rows = mx.concatenate([values, mx.zeros((1, *values.shape[1:]))])[mx.array(positions)]
        counted = mx.array(mask.astype(np.float32))
        if values.ndim == 1:
            return Logprobs(rows, counted)
        measures = mx.stop_gradient(rows)
        distribution = TokenDistribution(*(measures[..., each] for each in (1, 2, 3)))
        return MeasuredLogprobs.of(rows[..., 0], counted, distribution)


class _TracedTrunk(NamedTuple):
    """The trunk's hidden states of one stem, and its gradient, not computed yet."""

    states: mx.array
    """(n, D) the hidden states that predict the stem's targets."""
    cotangents: mx.array
    """(n, D) float32: zeros, in whose place the gradient in `states` is to be written before `gradients` are computed."""
    gradients: Any
    """A tree of arrays, one for each trainable parameter."""


def _list_independent(stems: Sequence[Stem]) -> list[Stem]:
    """List the stems, those without a prompt cut into their branches: nothing binds these together."""
    return [
        part
        for stem in stems
        for part in ([stem] if stem.tokens.size else [replace(stem, branches=[each]) for each in stem.branches])
    ]


@dataclass(frozen=True)
class Scorer:
    """Scores completions under `model` as it is at the time of the call."""

    model: nn.Module
    parts: Parts | None
    """None: the trunk cannot be run apart, and logits are computed at every position."""
    shares_prompts: bool
    vocabulary: int
    options: Options
    same_bits: bool = False
    """In all that was tried, a completion's numbers were the same to the last bit whatever ran beside it."""
    grouped: bool = False
    """Masks of unlike prompts have another axis (JoinedKV), as the soft cap of gemma2's attention needs."""

    def describe(self) -> str:
        """Say in words how completions are scored."""
        if self.parts is None:
            return (
                "logits at every position, whole (no faster way holds for this architecture: chunk_tokens and "
                "grad_checkpoint do nothing)"
            )
        return f"logits at answers only; {self.describe_sharing()}{self._describe_batches()}"

    def describe_sharing(self) -> str:
        """Say in words whether a prompt runs once for all its answers."""
        return "prompts shared" if self.shares_prompts else "prompts not shared"

    def _describe_batches(self) -> str:
        if self.options.lazily or not self.options.slack.share:
            return ""
        return "; batched to the same bits" if self.same_bits else "; batched to rounding, with this BLAS's kernels"

    def logprobs(self, completions: Sequence[Completion]) -> Logprobs:
        """Compute the log-probability of every completion token given the tokens before it, in nats.

        Returns (B, T) float32 tokens and mask, T the longest completion.
        """
        work = self._plan(completions)
        if self.options.lazily:
            return self._score_in_trace(work) if self.options.as_trained else self._score_lazily(work)
        states = self._compute_states(work, gradients=False)
        return work.table(logprobs_now(self._make_head(), states, work.targets))

    def run_trunk(self, completions: Sequence[Completion]) -> None:
        """Make all calls of the trunk that `logprobs` makes, in the same order and with the same kernels, for what they do besides."""
        work = self._plan(completions)
        if self.options.lazily and self.options.as_trained:
            mx.value_and_grad(lambda nothing: (nothing, self._compute_states(work, gradients=False)))(mx.array(0.0))
        else:
            self._compute_states(work, gradients=False)

    def _score_lazily(self, work: _PlannedBatch) -> Logprobs:
        states = self._compute_states(work, gradients=False)
        return work.table(logprobs_lazily(self._make_head(), states, work.targets, gradients=False))

    def _score_in_trace(self, work: _PlannedBatch) -> Logprobs:
        """Score while a gradient is traced, that of nothing: MLX is lazy, so none is computed."""

        def compute(nothing: mx.array) -> tuple[mx.array, Logprobs]:
            return nothing, self._score_lazily(work)

        scores: Logprobs = mx.value_and_grad(compute)(mx.array(0.0))[0][1]
        return scores

    def value_and_grad(self, completions: Sequence[Completion], share: Share) -> tuple[tuple[mx.array, Any], Any]:
        """Compute `share` of `logprobs(completions)`, and the gradient of its scalar in the model's trainable parameters.

        The numbers are those of `logprobs`, to the last bit. As `nn.value_and_grad` returns them: ((scalar, whatever else),
        a tree of arrays).
        """
        work = self._plan(completions)
        if not self.options.lazily:
            return self._differentiate_head_first(work, share)

        def compute() -> tuple[mx.array, Any]:
            states = self._compute_states(work, gradients=True)
            return share(work.table(logprobs_lazily(self._make_head(), states, work.targets, gradients=True)))

        result: tuple[tuple[mx.array, Any], Any] = nn.value_and_grad(self.model, compute)()
        return result

    def _differentiate_head_first(self, work: _PlannedBatch, share: Share) -> tuple[tuple[mx.array, Any], Any]:
        """Trace the trunk's gradient with cotangents that are filled in when the head's are known.

        So the head can be computed outside of any trace, and the trunk's forward pass keeps only what its backward pass needs.
        What shares no prompt is differentiated one after the other: a CPU gains nothing from more at once, which would take
        the memory of as many.
        """
        traces = [self._trace_trunk(stem) for stem in _list_independent(work.stems)]
        states = mx.concatenate([trace.states for trace in traces])
        value, by_state, by_parameter = differentiate_now(
            self._make_head(), states, work.targets, lambda values: share(work.table(values))
        )
        slopes, end = np.array(by_state), len(states)
        total: Any = None
        while traces:
            trace = traces.pop()  # and with it goes all that its forward pass has kept
            begin = end - len(trace.states)
            np.array(trace.cotangents, copy=False)[:] = slopes[begin:end]
            total = trace.gradients if total is None else tree_map(mx.add, total, trace.gradients)
            mx.eval(total)
            end = begin
        return value, tree_map_with_path(
            lambda name, slope: slope + by_parameter[name] if name in by_parameter else slope, total
        )

    def _trace_trunk(self, stem: Stem) -> _TracedTrunk:
        """Run `stem` through the trunk, and trace its gradient."""

        def trace() -> tuple[mx.array, tuple[mx.array, mx.array]]:
            states = mx.concatenate(self._compute_hidden(stem, gradients=True))
            cotangents = mx.array(np.zeros(states.shape, np.float32))
            return (states.astype(mx.float32) * cotangents).sum(), (states, cotangents)

        (_, (states, cotangents)), gradients = nn.value_and_grad(self.model, trace)()
        mx.eval(states, cotangents)
        return _TracedTrunk(states, cotangents, gradients)

    def _plan(self, completions: Sequence[Completion]) -> _PlannedBatch:
        if self.shares_prompts:
            slack = self.options.slack
            if not (slack.unlike_prompts and can_pad(make_caches(self.model))):
                slack = replace(slack, share=0.0)
            return _PlannedBatch(completions, plan.plan_shared(completions, self.options.slack, slack))
        return _PlannedBatch(completions, plan.plan_apart(completions, self.options.slack))

    def _compute_states(self, work: _PlannedBatch, gradients: bool) -> mx.array:
        """Compute the (N, D) hidden states that predict the work's targets."""
        return mx.concatenate([hidden for stem in work.stems for hidden in self._compute_hidden(stem, gradients)])

    def _make_head(self) -> Head:
        if self.parts is None:
            whole = Head(lambda logits: logits, self.vocabulary, dict, lambda _: lambda logits: logits)
            return replace(whole, measured=self.options.measured)
        fused = self.options.lazily and self.options.fused_head and fused_head.is_exact(self.vocabulary)
        return replace(self.parts.head(self.vocabulary), fused=fused, measured=self.options.measured)

    def _compute_hidden(self, stem: Stem, gradients: bool) -> list[mx.array]:
        """Compute, for each branch, the (n, D) hidden states that predict its targets."""
        caches = None
        if stem.tokens.size:
            padding = mx.array(stem.padding) if stem.padding.any() else None
            caches = make_caches(self.model, padding, self.grouped)
            self.run(mx.array(stem.tokens), caches, gradients)
        states = []
        for branch in stem.branches:
            branch_caches = None if caches is None else take_rows(caches, mx.array(branch.stem_rows), len(stem.tokens))
            hidden = self.run(mx.array(branch.tokens), branch_caches, gradients)
            states.append(hidden.reshape(-1, hidden.shape[-1])[mx.array(branch.places)])
        return states

    def run(self, tokens: mx.array, caches: list[Any] | None, gradients: bool) -> mx.array:
        """Run (b, L) tokens through the trunk → (b, L, D) hidden states; `caches` take the tokens in."""
        module = self.model if self.parts is None else self.parts.trunk
        trunk: Any = module
        if self.parts is not None and gradients and self.options.checkpoint_layers:
            trunk = self.parts.make_checkpointed_trunk()
        size = self.options.chunk_tokens
        if size is None or tokens.shape[1] <= size:
            hidden: mx.array = trunk(tokens, cache=caches) if caches is not None else trunk(tokens)
            return hidden
        keywords = {"cache": make_caches(self.model) if caches is None else caches}
        pieces = [tokens[:, begin : begin + size] for begin in range(0, tokens.shape[1], size)]
        if not gradients:
            return mx.concatenate([trunk(piece, **keywords) for piece in pieces], axis=1)
        return run_in_pieces(trunk, module, pieces, keywords)
