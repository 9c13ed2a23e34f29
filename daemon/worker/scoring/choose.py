"""Chooses the fastest way of scoring that gives the numbers and gradients of the model's own full logits."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring import plan, randomness
from prefd.daemon.worker.scoring.kernels import find_plan_that_keeps_bits
from prefd.daemon.worker.scoring.plan import Slack
from prefd.daemon.worker.scoring.prefix import make_caches
from prefd.daemon.worker.scoring.scorer import Options, Scorer
from prefd.daemon.worker.scoring.trunk import candidates, named
from prefd.plugins.types import Logprobs

log = logging.getLogger(__name__)

TOLERANCE = {mx.float32: 2e-4, mx.float16: 2e-2, mx.bfloat16: 0.15}
"""Nats by which a token's log-probability may differ between two ways of computing it."""
GRADIENT_TOLERANCE = {mx.float32: 1e-3, mx.float16: 5e-2, mx.bfloat16: 0.25}
"""The share of an array's gradient by which it may differ."""


def fastest_scorer(model: nn.Module, options: Options | None = None) -> Scorer:
    """Returns the first of the ways, fastest first, that agrees with full logits on a few tokens, gradients included."""
    options = options or Options()
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
        f"{way.describe_sharing()}, {pieces}",
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
        if way.run(mx.array([[1]]), caches, gradients=False).shape[-1] == way.vocabulary:
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
