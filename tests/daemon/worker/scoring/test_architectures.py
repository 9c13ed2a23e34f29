"""The fast ways against full logits, values and LoRA gradients, on mlx-lm's architectures at test size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.logsumexp import logsumexp
from prefd.daemon.worker.scoring.plan import Slack
from prefd.daemon.worker.scoring.scorer import Options, Scorer
from prefd.plugins.types import Logprobs
from support import tiny_architectures
from support.thinned import thin

pytestmark = pytest.mark.usefixtures("known_bits")

FULL_LOGITS = {"gpt_neox", "lille-130m"}
"""Whose trunk gives logits: there is no faster way, and none is taken."""


def adapted(name: str, quantized: bool = False) -> nn.Module:
    model = tiny_architectures.build(name)
    if quantized:
        nn.quantize(
            model,
            group_size=32,
            bits=8,
            class_predicate=lambda _, m: isinstance(m, nn.Linear) and m.weight.shape[-1] % 32 == 0,
        )
    return with_adapter(model)


def with_adapter(model: nn.Module) -> nn.Module:
    """LoRA on every layer, away from its start."""
    model.freeze()
    linear_to_lora_layers(model, -1, {"rank": 4, "scale": 4.0, "dropout": 0.0})
    model.apply_to_modules(
        lambda _, module: (
            module.update({"lora_b": mx.random.normal(module.lora_b.shape) * 0.1}) if "lora_b" in module else None
        )
    )
    model.train()
    return model


def batch() -> list[Completion]:
    """Two prompts with two answers each, every length another, and longer than the sliding windows."""
    random = np.random.default_rng(1)
    prompts = [random.integers(1, 64, size).astype(np.uint32) for size in (6, 11)]
    return [
        Completion(np.concatenate([prompt, random.integers(1, 64, size).astype(np.uint32)]), len(prompt))
        for prompt, sizes in zip(prompts, ((9, 20), (35, 2)))
        for size in sizes
    ]


def naive(model: nn.Module, completions: list[Completion]) -> tuple[list[Any], dict[str, Any]]:
    """Each completion alone, full logits; and the gradient of the sum of all.

    The sum over the vocabulary is prefd's own, which test_logsumexp.py holds against float64: over 49 k tokens mlx's own is
    1e-4 off on a CPU, and its gradients with it.
    """

    def total() -> tuple[mx.array, list[mx.array]]:
        scored = []
        for one in completions:
            logits = model(mx.array(one.ids[None].astype(np.int32)))[0, one.start - 1 : -1].astype(mx.float32)
            targets = mx.array(one.ids[one.start :].astype(np.int32))[:, None]
            scored.append(mx.take_along_axis(logits, targets, axis=-1).squeeze(-1) - logsumexp(logits))
        return mx.concatenate(scored).sum(), scored

    (_, scored), gradients = nn.value_and_grad(model, total)()
    return [np.array(each) for each in scored], dict(tree_flatten(gradients))


def assert_exact(model: nn.Module, scorer: Scorer, nats: float = 2e-5) -> None:
    completions = batch()
    values, slopes = naive(model, completions)

    def total(scored: Logprobs) -> tuple[mx.array, mx.array]:
        return scored.tokens.sum(), scored.tokens

    (_, tokens), gradients = scorer.value_and_grad(completions, total)
    for row, value in enumerate(values):
        actual = np.array(tokens)[row, : len(value)]
        np.testing.assert_allclose(actual, value, rtol=1e-4, atol=nats)
    largest = max(float(mx.linalg.norm(slope)) for slope in slopes.values())
    for name, actual in tree_flatten(gradients):
        error = float(mx.linalg.norm(actual - slopes[name]))
        assert error <= 1e-4 * max(float(mx.linalg.norm(slopes[name])), 0.01 * largest), name
    assert math.isfinite(largest)
    assert largest > 0


OFTEN = {*FULL_LOGITS, *sorted(tiny_architectures.OWN)[::2]}
"""Those that a usual run tries: all that cannot share prompts, and half of the rest."""


@pytest.mark.parametrize("name", thin(sorted(tiny_architectures.OWN), OFTEN.__contains__))
def test_numbers_and_gradients_are_those_of_full_logits(name: str) -> None:
    model = adapted(name)
    scorer = fastest_scorer(model, Options())
    assert (scorer.parts is None) == (name in FULL_LOGITS)
    assert scorer.shares_prompts == (name not in FULL_LOGITS)
    assert_exact(model, scorer)


HARD = {
    "as on a GPU": Options(slack=Slack(1.0), lazily=True),
    "in pieces": Options(chunk_tokens=5),
    "layers recomputed, in pieces, batched": Options(slack=Slack(1.0), chunk_tokens=7, checkpoint_layers=True),
    "and as one graph": Options(slack=Slack(1.0), lazily=True, chunk_tokens=7, checkpoint_layers=True),
}


def hard_cases() -> Iterator[Any]:
    """All ways for the plainest architecture; for the others the one that joins the rest, and thoroughly all."""
    for name in ("llama sliding", "qwen3_next", "gemma2", "mixtral", "jamba", "gpt_oss", "lfm2"):
        for way, options in HARD.items():
            often = name == "llama sliding" or (options.checkpoint_layers and not options.lazily)
            yield pytest.param(name, options, id=f"{name}-{way}", marks=[] if often else pytest.mark.thorough)


@pytest.mark.parametrize(("name", "options"), list(hard_cases()))
def test_long_context_and_recomputation_are_exact_too(name: str, options: Options) -> None:
    model = adapted(name)
    scorer = fastest_scorer(model, options)
    assert scorer.parts is not None
    assert scorer.shares_prompts
    assert scorer.grouped == (name == "gemma2" and options.slack.share > 0)
    assert_exact(model, scorer)


@pytest.mark.parametrize("name", ["llama untied", "qwen3_moe"])
def test_quantized_weights_too(name: str) -> None:
    model = adapted(name, quantized=True)
    scorer = fastest_scorer(model, Options())
    assert scorer.shares_prompts
    assert_exact(model, scorer)


@pytest.mark.parametrize("name", ["llama", "llama untied"])
@pytest.mark.parametrize("lazily", [False, True])
@pytest.mark.parametrize("options", [{}, {"chunk_tokens": 5, "checkpoint_layers": True}], ids=repr)
def test_a_head_that_is_trained_has_its_gradient(name: str, options: dict[str, Any], lazily: bool) -> None:
    model = tiny_architectures.build(name)
    model.train()
    scorer = fastest_scorer(model, Options(lazily=lazily, **options))
    assert scorer.parts is not None
    assert_exact(model, scorer)


@pytest.mark.smol
def test_a_real_model_too(smol_layers: Path) -> None:
    mx.random.seed(0)
    model = with_adapter(mlx_lm.load(str(smol_layers))[0])
    scorer = fastest_scorer(model, Options())
    assert scorer.shares_prompts
    assert_exact(model, scorer, nats=1e-4)
