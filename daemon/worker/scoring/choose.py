"""Chooses the fastest way of scoring that gives the numbers and gradients of the model's own full logits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.device_trouble import raise_if_device_failed
from prefd.daemon.worker.scoring import plan, randomness
from prefd.daemon.worker.scoring.excerpt import make_excerpt
from prefd.daemon.worker.scoring.gated_delta import take_fused_rule
from prefd.daemon.worker.scoring.kernels import find_plan_that_keeps_bits
from prefd.daemon.worker.scoring.layer_window import read_arrays
from prefd.daemon.worker.scoring.plan import Slack
from prefd.daemon.worker.scoring.prefix import make_caches
from prefd.daemon.worker.scoring.scorer import Options, Scorer, is_on_gpu
from prefd.daemon.worker.scoring.trunk import find_layers_key, find_parts, list_arrays
from prefd.daemon.worker.scoring.windows import WindowedScorer
from prefd.plugins.errors import describe_exception
from prefd.plugins.types import Logprobs

log = logging.getLogger(__name__)

TOLERANCE = {mx.float32: 2e-4, mx.float16: 2e-2, mx.bfloat16: 0.15}
"""Nats by which a token's log-probability may differ between two ways of computing it."""
GRADIENT_TOLERANCE = {mx.float32: 1e-3, mx.float16: 5e-2, mx.bfloat16: 0.25}
"""The share of an array's gradient by which it may differ."""


def fastest_scorer(model: nn.Module, options: Options | None = None) -> Scorer:
    """Return the fastest way of scoring that agrees with full logits on a few tokens, gradients included.

    It is tried on a few layers in float32, where that can be, and else on the model as it is. Raises what a device that
    has no memory left or is in trouble raises: that says nothing of the architecture.
    """
    options = options or Options()
    with _undisturbed(model):
        if is_on_gpu():
            take_fused_rule(model)
        plain = _score_plainly(model, options)
        ways = _list_ways(plain, options)
        if not ways:
            return plain
        way = _choose_by_excerpt(plain, options)
        way = _choose(plain, ways) if way is None else _move(way, model)
        return plain if way is None else _narrow_batching(way, _score_each)


class NoWindows(Exception):
    """NoWindows is raised where a model cannot be run a window at a time; its message, a clause, says why."""


def windowed_scorer(open_model: Callable[[], nn.Module], size: int, options: Options | None = None) -> WindowedScorer:
    """Return what scores as `fastest_scorer` does, to the last bit, with `size` layers in memory at a time.

    `open_model` opens the model with none of its weights read. Raises as `choose_apart`.
    """
    way = choose_apart(open_model, options)
    frame, parts = way.model, way.parts
    assert parts is not None
    prefix = f"{'.'.join(parts.path)}.{find_layers_key(frame, parts.trunk)}."
    read_arrays([array for name, array in list_arrays(frame.parameters()) if not name.startswith(prefix)])

    def open_layers() -> list[nn.Module]:
        return list(replace(parts, model=open_model()).layers)

    def in_windows(scorer: Scorer) -> WindowedScorer:
        return WindowedScorer(scorer, open_layers, size)

    return in_windows(narrow_batching(way, lambda scorer, batches: in_windows(scorer).logprobs(batches)))


def choose_apart(open_model: Callable[[], nn.Module], options: Options | None = None) -> Scorer:
    """Return the way that `fastest_scorer` takes, whose layers can be run apart, with a model that is open and not read.

    That the bits are the same then is tried on a few layers; raises `NoWindows` where they are not, or where a few layers say nothing
    of the architecture. Which batches keep their bits is not tried (`narrow_batching`).
    """
    options = options or Options()
    model = open_model()  # what the trial reads of it is free again when it ends
    with _undisturbed(model):
        if is_on_gpu():
            take_fused_rule(model)
        way = _choose_by_excerpt(_score_plainly(model, options), options)
        if way is None:
            raise NoWindows("its layers cannot be run apart from what is before and behind them")
        _check_windows(way)
    del model
    return _move(way, open_model())


def narrow_batching(way: Scorer, score_all: ScoreAll) -> Scorer:
    """Make `way` batch only what keeps its bits, as `score_all` runs it."""
    with _undisturbed(way.model):
        return _narrow_batching(way, score_all)


def _check_windows(way: Scorer) -> None:
    """Check on the excerpt of `way` that its layers, one at a time, give the same bits as all at once, or raise `NoWindows`."""
    parts = way.parts
    assert parts is not None
    probe = _make_probe(way.vocabulary, batched=way.options.slack.share > 0)
    expected = np.array(way.logprobs(probe).tokens)
    try:
        (scored,) = WindowedScorer(way, lambda: list(parts.layers), 1).logprobs([probe])
        difference = float(np.abs(np.array(scored.tokens) - expected).max())
    except Exception as error:
        raise_if_device_failed(error)
        raise NoWindows(f"its layers do not run one at a time ({describe_exception(error)})") from error
    if difference:
        raise NoWindows(f"its layers, run one at a time, are {difference:.2g} nats off all of them at once")


def _move(way: Scorer, model: nn.Module) -> Scorer:
    """Return `way` for `model`, of the same architecture as the model of `way`."""
    assert way.parts is not None
    return replace(way, model=model, parts=replace(way.parts, model=model))


def _score_plainly(model: nn.Module, options: Options) -> Scorer:
    """Return the way that is right for every model: its own logits, at every position."""
    vocabulary = model(mx.array([[1]])).shape[-1]
    return Scorer(model, None, False, vocabulary, Options(options.slack, options.lazily))


def _list_ways(plain: Scorer, options: Options) -> list[Scorer]:
    """List the ways to try, the fastest first; none where the model has no trunk."""
    padded = [(True, True)] if options.slack.share else []
    return [
        replace(plain, parts=parts, shares_prompts=shares, grouped=grouped, options=options)
        for parts in find_parts(plain.model)
        for shares, grouped in [(True, False), *padded, (False, False)]
    ]


def _choose_by_excerpt(plain: Scorer, options: Options) -> Scorer | None:
    """Return the first way that holds for an excerpt of the model, with that excerpt; None where none can be made, or none holds."""
    for parts in find_parts(plain.model):
        try:
            plain_excerpt = _score_plainly(make_excerpt(parts), options)
            chosen = _choose(plain_excerpt, _list_ways(plain_excerpt, options))
        except Exception as error:  # noqa: BLE001  # an architecture may need all of its layers
            raise_if_device_failed(error)
            log.info("a few layers cannot be tried alone (%s)", describe_exception(error))
            continue
        if chosen is not None and chosen.parts is not None:
            return chosen
    return None


def _choose(plain: Scorer, ways: Sequence[Scorer]) -> Scorer | None:
    """Return the first of `ways` that agrees with `plain` on a few tokens; None where none does."""
    dtype = plain.model(mx.array([[1]])).dtype
    tokens = _make_probe(plain.vocabulary, batched=plain.options.slack.share > 0)
    expected = _measure(plain, tokens)
    return next((way for way in ways if _agrees(way, tokens, expected, dtype)), None)


ScoreAll = Callable[[Scorer, Sequence[Sequence[Completion]]], Iterator[Logprobs]]
"""Scores batch after batch."""


def _score_each(scorer: Scorer, batches: Sequence[Sequence[Completion]]) -> Iterator[Logprobs]:
    return (scorer.logprobs(batch) for batch in batches)


def _narrow_batching(way: Scorer, score_all: ScoreAll) -> Scorer:
    """Make `way` batch only what keeps its bits; where nothing does, there is no reason to batch less than pays."""
    if way.options.slack != plan.CPU:
        return way

    def with_slack(slack: Slack) -> Scorer:
        return replace(way, same_bits=True, options=replace(way.options, slack=slack))

    pieces = f"in pieces of {way.options.chunk_tokens}" if way.options.chunk_tokens else "whole"
    plan_name = find_plan_that_keeps_bits(
        way.model,
        f"{way.describe_sharing()}, {pieces}",
        plan.SAME_BITS,
        lambda slack: _keeps_bits(with_slack(slack), score_all),
    )
    return way if plan_name is None else with_slack(plan.SAME_BITS[plan_name])


TRIED_BATCHES = (
    ((57, (40, 44)), (60, (75,)), (50, (38,)), (33, (32,)), (110, (100,)), (6, (3, 8))),
    ((31, (41, 15)),),
    ((94, (8, 10)),),
    ((101, (67, 97)),),
)
"""Batches to try: lengths of prompts and of the answers to each, in tokens. Kernels change at some number of rows."""


def _keeps_bits(way: Scorer, score_all: ScoreAll) -> bool:
    """Say whether completions of lengths that meet in batches have the same bits in a batch as alone."""
    generator = np.random.default_rng(0)
    tried_batches = [_make_batch(generator, way.vocabulary, shapes) for shapes in TRIED_BATCHES]
    scores = score_all(way, [batch for tried in tried_batches for batch in (tried, *([each] for each in tried))])
    for tried in tried_batches:
        rows = np.array(next(scores).tokens)
        alone = [np.array(next(scores).tokens)[0] for _ in tried]
        if not all(np.array_equal(row[: len(lone_row)], lone_row) for row, lone_row in zip(rows, alone)):
            return False
    return True


def _make_batch(
    generator: np.random.Generator, vocabulary: int, shapes: Sequence[tuple[int, Sequence[int]]]
) -> list[Completion]:
    """Make completions of random tokens: of each shape a prompt, and answers to it."""
    prompts = [(generator.integers(1, vocabulary, size), answers) for size, answers in shapes]
    return [
        Completion(np.concatenate([prompt, generator.integers(1, vocabulary, size)]).astype(np.uint32), len(prompt))
        for prompt, answers in prompts
        for size in answers
    ]


def _agrees(way: Scorer, tokens: Sequence[Completion], expected: _Measurement, dtype: mx.Dtype) -> bool:
    harder_options = replace(
        way.options,
        slack=Slack(2.0) if way.options.slack.share else way.options.slack,  # so that unlike lengths do meet
        chunk_tokens=5 if way.options.chunk_tokens else None,
    )
    harder_way = replace(way, options=harder_options)
    try:
        caches = make_caches(way.model) if way.shares_prompts else None
        if way.run(mx.array([[1]]), caches, gradients=False).shape[-1] == way.vocabulary:
            return False  # what looked like the trunk gives logits
        fault = _find_disagreement(_measure(harder_way, tokens), expected, dtype)
    except Exception as error:  # noqa: BLE001  # an architecture may refuse in any way: then this way is not taken
        raise_if_device_failed(error)
        fault = describe_exception(error)
    if fault:
        log.info("%s: not for this model: %s", way.describe(), fault)
    return not fault


def _make_probe(vocabulary: int, batched: bool) -> list[Completion]:
    """Make a prompt with two answers of unlike length; and where unlike lengths are `batched`, another prompt with one."""
    ids = np.random.default_rng(0).integers(1, vocabulary, 60).astype(np.uint32)
    first, second = ids[:9], ids[9:13]
    shapes = [(first, ids[13:16]), (first, ids[16:35]), (second, ids[35:41])]
    return [
        Completion(np.concatenate([prompt, answer]), len(prompt)) for prompt, answer in shapes[: 3 if batched else 2]
    ]


@dataclass(frozen=True)
class _Measurement:
    tokens: npt.NDArray[np.float32]
    gradients: dict[str, tuple[float, float]]
    """The gradient of Σ tokens by trainable array: its norm, and its product with a fixed random array, which a wrong sign or
    place changes as much as a wrong size."""


def _measure(scorer: Scorer, completions: Sequence[Completion]) -> _Measurement:
    def total(scored: Logprobs) -> tuple[mx.array, mx.array]:
        return scored.tokens.sum(), scored.tokens

    if not list_arrays(scorer.model.trainable_parameters()):
        return _Measurement(np.array(scorer.logprobs(completions).tokens), {})
    (_, tokens), gradients = scorer.value_and_grad(completions, total)
    sizes = {}
    for name, gradient_in_dtype in list_arrays(gradients):
        gradient = gradient_in_dtype.astype(mx.float32)
        random = mx.random.normal(gradient.shape, key=mx.random.key(0))
        sizes[name] = mx.stack([mx.linalg.norm(gradient), (gradient * random).sum()])
    mx.eval(tokens, sizes)
    return _Measurement(
        np.array(tokens),
        {name: (float(size_and_product[0]), float(size_and_product[1])) for name, size_and_product in sizes.items()},
    )


def _find_disagreement(measured: _Measurement, expected: _Measurement, dtype: mx.Dtype) -> str:
    """Say in words what is not as expected; empty where all is."""
    difference = float(np.abs(measured.tokens - expected.tokens).max())
    if not difference <= TOLERANCE[dtype]:
        return f"log-probabilities {difference:.2g} nats off those of full logits"
    largest = max((norm for norm, _ in expected.gradients.values()), default=0.0)
    for name, expected_sizes in expected.gradients.items():
        limit = GRADIENT_TOLERANCE[dtype] * max(expected_sizes[0], 0.05 * largest)  # small ones are mostly rounding
        if not np.abs(np.subtract(measured.gradients[name], expected_sizes)).max() <= limit:
            return f"the gradient of {name} is not that of full logits"
    return ""


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Switch dropout off inside the block, and put the random state back after it."""
    random = randomness.read_state()
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout) and module.training]
    for module in dropouts:
        module.eval()
    try:
        yield
    finally:
        for module in dropouts:
            module.train()
        randomness.restore(random)
