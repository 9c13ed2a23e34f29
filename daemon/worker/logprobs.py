"""Per-token log-probabilities of completions: the one function that scores the reference and the policy.

No work is done that is not needed: a prompt runs once for all its answers, and logits exist only where an answer's
token is predicted, a slice at a time. How it is done is `engine/`; that it is right for the architecture at hand is
tried when a `Scorer` is made, and where it is not, the next simpler way is taken.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn
from mlx.utils import tree_map_with_path

from prefd.daemon.spec import JobSpec
from prefd.daemon.training_spec import TrainingSpec
from prefd.daemon.worker.engine import plan, randomness
from prefd.daemon.worker.engine.head import Head, differentiate_now, logprobs_lazily, logprobs_now
from prefd.daemon.worker.engine.plan import Branch, Slack, Stem
from prefd.daemon.worker.engine.prefix import make_caches, taken, takes_padding
from prefd.daemon.worker.engine.trunk import Parts, candidates, in_pieces, named
from prefd.daemon.worker.kernels import find_plan_that_keeps_bits
from prefd.daemon.worker.tokens import Completion
from prefd.plugins.types import Logprobs

log = logging.getLogger(__name__)

Share = Callable[[Logprobs], tuple[mx.array, Any]]
"""Log-probabilities → a scalar, and whatever else is to come back with it."""
TOLERANCE = {mx.float32: 2e-4, mx.float16: 2e-2, mx.bfloat16: 0.15}
"""Nats by which a token's log-probability may differ between two ways of computing it."""
GRADIENT_TOLERANCE = {mx.float32: 1e-3, mx.float16: 5e-2, mx.bfloat16: 0.25}
"""The share of an array's gradient by which it may differ."""


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

    @classmethod
    def of(cls, model: nn.Module, options: Options | None = None) -> Scorer:
        """The fastest scorer whose numbers and gradients are those of `model`'s own full logits."""
        return choose(model, options or Options())

    def describe(self) -> str:
        if self.parts is None:
            return (
                "logits at every position, whole (no faster way holds for this architecture: chunk_tokens and "
                "grad_checkpoint do nothing)"
            )
        return f"logits at answers only; {self._describe_sharing()}{self._describe_batches()}"

    def _describe_sharing(self) -> str:
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
            self._run(mx.array(stem.tokens), caches, gradients)
        made = []
        for branch in stem.branches:
            own = None if caches is None else taken(caches, mx.array(branch.stem_rows), len(stem.tokens))
            hidden = self._run(mx.array(branch.tokens), own, gradients)
            made.append(hidden.reshape(-1, hidden.shape[-1])[mx.array(branch.places)])
        return made

    def _run(self, tokens: mx.array, caches: list[Any] | None, gradients: bool) -> mx.array:
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


def choose(model: nn.Module, options: Options) -> Scorer:
    """The first of the ways, fastest first, that agrees with full logits on a few tokens, gradients included."""
    with _undisturbed(model):
        logits = model(mx.array([[1]]))
        plain = Scorer(model, None, False, logits.shape[-1], Options(options.slack, options.lazily))
        tokens = _probe(logits.shape[-1], batched=options.slack.share > 0)
        expected = _measured(plain, tokens)
        padded = [(True, True)] if options.slack.share else []
        for parts in candidates(model):
            for shares, grouped in [(True, False), *padded, (False, False)]:
                way = replace(plain, parts=parts, shares_prompts=shares, grouped=grouped, options=options)
                if _holds(way, tokens, expected, logits.dtype):
                    return _narrowed(way)
    return plain


def _narrowed(way: Scorer) -> Scorer:
    """`way` batching what keeps its bits; where nothing does, there is no reason to batch less than pays."""
    if way.options.slack != plan.CPU:
        return way

    def batching(slack: Slack) -> Scorer:
        return replace(way, same_bits=True, options=replace(way.options, slack=slack))

    pieces = f"in pieces of {way.options.chunk_tokens}" if way.options.chunk_tokens else "whole"
    kept = find_plan_that_keeps_bits(
        way.model,
        f"{way._describe_sharing()}, {pieces}",
        plan.SAME_BITS,
        lambda slack: _same_alone_and_together(batching(slack)),
    )
    return way if kept is None else batching(plan.SAME_BITS[kept])


TOGETHER = (
    ((57, (40, 44)), (60, (75,)), (50, (38,)), (33, (32,)), (110, (100,)), (6, (3, 8))),
    ((31, (41, 15)),),
    ((94, (8, 10)),),
    ((101, (67, 97)),),
)
"""What is tried: prompts and the answers to each, in tokens, that run together. Kernels change at some number of rows."""


def _same_alone_and_together(way: Scorer) -> bool:
    """Whether completions of lengths that meet in batches have, together, the bits of each alone."""
    random = np.random.default_rng(0)
    for shapes in TOGETHER:
        prompts = [(random.integers(1, way.vocabulary, size), answers) for size, answers in shapes]
        tried = [
            Completion(
                np.concatenate([prompt, random.integers(1, way.vocabulary, size)]).astype(np.uint32), len(prompt)
            )
            for prompt, answers in prompts
            for size in answers
        ]
        rows = np.array(way.logprobs(tried).tokens)
        alone = [np.array(way.logprobs([each]).tokens)[0] for each in tried]
        if not all(np.array_equal(row[: len(one)], one) for row, one in zip(rows, alone)):
            return False
    return True


def _holds(way: Scorer, tokens: Sequence[Completion], expected: _Measured, dtype: mx.Dtype) -> bool:
    harder = replace(
        way.options,
        slack=Slack(2.0) if way.options.slack.share else way.options.slack,  # so that unlike lengths do meet
        chunk_tokens=5 if way.options.chunk_tokens else None,
    )
    tried = replace(way, options=harder)
    try:
        caches = make_caches(way.model) if way.shares_prompts else None
        if way._run(mx.array([[1]]), caches, gradients=False).shape[-1] == way.vocabulary:
            return False  # what looked like the trunk gives logits
        wrong = _disagreement(_measured(tried, tokens), expected, dtype)
    except Exception as error:  # noqa: BLE001  # an architecture may refuse in any way: then this way is not taken
        wrong = f"{type(error).__name__}: {error}"
    if wrong:
        log.info("%s: not for this model: %s", way.describe(), wrong)
    return not wrong


def _probe(vocabulary: int, batched: bool) -> list[Completion]:
    """A prompt with two answers of unlike length; and where unlike lengths are `batched`, another prompt with one."""
    ids = np.random.default_rng(0).integers(1, vocabulary, 60).astype(np.uint32)
    first, second = ids[:9], ids[9:13]
    shapes = [(first, ids[13:16]), (first, ids[16:35]), (second, ids[35:41])]
    return [
        Completion(np.concatenate([prompt, answer]), len(prompt)) for prompt, answer in shapes[: 3 if batched else 2]
    ]


@dataclass(frozen=True)
class _Measured:
    tokens: npt.NDArray[np.float32]
    gradients: dict[str, tuple[float, float]]
    """Of Σ tokens, for each trainable array: its norm, and its product with a fixed random array, which a wrong sign or place
    changes as much as a wrong size."""


def _measured(scorer: Scorer, completions: Sequence[Completion]) -> _Measured:
    def total(scored: Logprobs) -> tuple[mx.array, mx.array]:
        return scored.tokens.sum(), scored.tokens

    if not named(scorer.model.trainable_parameters()):
        return _Measured(np.array(scorer.logprobs(completions).tokens), {})
    (_, tokens), gradients = scorer.value_and_grad(completions, total)
    seen = {}
    for name, value in named(gradients):
        exact = value.astype(mx.float32)
        random = mx.random.normal(exact.shape, key=mx.random.key(0))
        seen[name] = mx.stack([mx.linalg.norm(exact), (exact * random).sum()])
    mx.eval(tokens, seen)
    return _Measured(np.array(tokens), {name: (float(size[0]), float(size[1])) for name, size in seen.items()})


def _disagreement(found: _Measured, expected: _Measured, dtype: mx.Dtype) -> str:
    """What is not as expected, in words; empty where all is."""
    apart = float(np.abs(found.tokens - expected.tokens).max())
    if not apart <= TOLERANCE[dtype]:
        return f"log-probabilities {apart:.2g} nats off those of full logits"
    largest = max((norm for norm, _ in expected.gradients.values()), default=0.0)
    for name, wanted in expected.gradients.items():
        limit = GRADIENT_TOLERANCE[dtype] * max(wanted[0], 0.05 * largest)  # small ones are mostly rounding
        if not np.abs(np.subtract(found.gradients[name], wanted)).max() <= limit:
            return f"the gradient of {name} is not that of full logits"
    return ""


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """No dropout inside, and outside no trace that anything ran."""
    random = randomness.state()
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout) and module.training]
    for module in dropouts:
        module.eval()
    try:
        yield
    finally:
        for module in dropouts:
            module.train()
        randomness.restore(random)
