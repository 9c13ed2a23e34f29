"""A policy that starts as the reference is told from a wrong one, in half precision too."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model, load_tokenizer

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring import plan
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Options, Scorer
from prefd.daemon.worker.training.start import measure_noise
from prefd.daemon.worker.training.start_check import StartDrift, measure_start_drift
from prefd.daemon.worker.training.train import describe_doubt
from prefd.plugins.types import Logprobs
from support.emulated_metal import EmulatedMetal, emulated_metal
from support.paths import ROOT

DEMO_PAIRS = ROOT / "contrib" / "demo" / "pairs.jsonl"
ON_A_GPU = Options(slack=plan.METAL, lazily=True)


@pytest.mark.parametrize(
    ("drift", "rounding", "dtype", "is_doubtful", "is_wrong"),
    [
        (0.049, 0.0, "bfloat16", False, False),
        (0.060, 0.0, "bfloat16", True, False),
        (0.060, 0.045, "bfloat16", False, False),  # 1.3 times what rounding does to these pairs
        (0.085, 0.045, "bfloat16", True, False),
        (0.160, 0.045, "bfloat16", True, True),
        (0.110, 0.0, "bfloat16", True, True),
        (9e-4, 0.0, "float32", False, False),
        (1.1e-3, 0.0, "float32", True, True),  # nothing between noise and wrong
        (math.nan, 0.01, "bfloat16", True, True),
        (0.01, math.nan, "bfloat16", False, False),
    ],
)
def test_a_drift_is_judged_by_the_rounding_measured_beside_it(
    drift: float, rounding: float, dtype: str, is_doubtful: bool, is_wrong: bool
):
    start = StartDrift(drift, rounding, dtype)
    assert (start.is_doubtful, start.is_wrong) == (is_doubtful, is_wrong)
    assert (describe_doubt(start) is not None) == is_doubtful


def test_a_doubtful_start_is_told_with_both_numbers():
    warning = describe_doubt(StartDrift(0.085, 0.045, "bfloat16"))
    assert warning is not None
    assert "0.085 nats a token" in warning
    assert "differ by 0.045" in warning
    assert "cache verify --rescore" in warning


@pytest.fixture(
    scope="module",
    params=[pytest.param(3, id="first layers"), pytest.param(30, id="whole", marks=pytest.mark.thorough)],
)
def half(request: pytest.FixtureRequest, smol_model: Path) -> Iterator[Half]:
    """SmolLM2 in bfloat16 on an emulated Metal, and its scores of some pairs in one large batch."""
    with emulated_metal() as metal:
        yield Half(smol_model, request.param, metal)


class Half:
    """A reference pass of a real model in bfloat16, as a Mac would compute it."""

    def __init__(self, model: Path, layers: int, metal: EmulatedMetal) -> None:
        self.folder, self.layers, self.metal = model, layers, metal
        self.checks = 50 if layers == 30 else 3
        tokenizer = load_tokenizer(model)
        rows = [json.loads(line) for line in DEMO_PAIRS.read_text().splitlines()[: self.checks + 1]]
        self.completions = [
            Completion(
                np.array(tokenizer.encode(row["prompt"]) + tokenizer.encode(row[side]), np.uint32),
                len(tokenizer.encode(row["prompt"])),
            )
            for row in rows
            for side in ("chosen", "rejected")
        ]
        self.scorer = fastest_scorer(self.load(), ON_A_GPU)
        self.reference = self.score(self.scorer, self.completions)

    def load(self) -> nn.Module:
        model, _ = load_model(self.folder)
        model.model.layers = model.model.layers[: self.layers]
        model.set_dtype(mx.bfloat16)
        mx.eval(model.parameters())
        model.freeze()
        model.eval()
        return model

    def scorer_of(self, model: nn.Module) -> Scorer:
        assert self.scorer.parts is not None
        return replace(self.scorer, model=model, parts=replace(self.scorer.parts, model=model))

    def score(self, scorer: Scorer, completions: list[Completion]) -> list[np.ndarray]:
        tokens = np.array(scorer.logprobs(completions).tokens)
        return [tokens[row, : len(each.ids) - each.start] for row, each in enumerate(completions)]

    def check(self, scorer: Scorer, number: int) -> StartDrift:
        """The step-0 check of two pairs, other ones for each number."""
        rows = range(2 * number, 2 * number + 4)
        sides = [self.completions[row] for row in rows]
        tokens = np.zeros((4, max(len(self.reference[row]) for row in rows)), np.float32)
        for index, row in enumerate(rows):
            tokens[index, : len(self.reference[row])] = self.reference[row]
        reference = Logprobs(mx.array(tokens), mx.array((tokens != 0).astype(np.float32)))
        return measure_start_drift(scorer, sides, reference, "bfloat16")


@pytest.mark.smol
@pytest.mark.slow
class TestOnAnEmulatedMetal:
    """What was 2 of 6 jobs stopped for nothing."""

    def test_half_precision_does_not_cost_the_fast_way(self, half: Half):
        assert half.metal.split_products > 0
        assert half.scorer.describe() == "logits at answers only; prompts shared"

    def test_no_job_is_stopped_or_warned_for_rounding(self, half: Half):
        starts = [half.check(half.scorer, number) for number in range(half.checks)]
        assert not any(start.is_doubtful for start in starts), starts
        assert max(start.drift for start in starts) > 0.002  # the emulation does round

    def test_a_reference_of_other_bits_is_refused(self, half: Half):
        model, rounded = half.load(), half.load()
        nn.quantize(rounded, 64, 4)
        for name, module in rounded.named_modules():
            if "scales" in module:
                path = dict(model.named_modules())[name]
                path.weight = mx.dequantize(module.weight, module.scales, module.biases, 64, 4).astype(mx.bfloat16)
        assert half.check(half.scorer_of(model), 0).is_wrong

    @pytest.mark.thorough  # test_train.py stops a job whose numbers are not the policy's own
    def test_another_adapter_is_refused(self, half: Half):
        model = half.load()
        mx.random.seed(1)
        linear_to_lora_layers(model, -1, {"rank": 8, "scale": 20.0, "dropout": 0.0})
        for module in model.modules():
            if "lora_b" in module:
                module.lora_b = mx.random.normal(module.lora_b.shape) * 0.01
        model.eval()
        assert half.check(half.scorer_of(model), 0).is_wrong

    @pytest.mark.thorough
    def test_scoring_takes_the_attention_of_training(self, half: Half):
        """Else a policy in training is 0.05 nats a token from the reference it started as, by the kernel alone."""
        model, completions = half.load(), half.completions[:4]
        model.model.norm.unfreeze()
        fused = half.scorer_of(model)
        as_trained = replace(fused, options=replace(ON_A_GPU, as_trained=True))
        (_, trained), _ = fused.value_and_grad(completions, lambda policy: (policy.sums.sum(), policy))
        assert mx.array_equal(as_trained.logprobs(completions).tokens, trained.tokens)
        assert mx.abs(fused.logprobs(completions).tokens - trained.tokens).mean() > 0.001

    @pytest.mark.thorough
    def test_float32_has_no_noise_to_speak_of(self, half: Half):
        """So `training.compute_dtype: float32` is what dpop, with its δ of 50, wants on a GPU."""
        model = half.load()
        model.model.norm.unfreeze()
        pairs = half.completions[:4]
        noise = measure_noise(half.scorer_of(model), pairs)
        model.set_dtype(mx.float32)
        exact_noise = measure_noise(half.scorer_of(model), pairs)
        assert exact_noise < 1e-4
        assert noise > 0.01

    @pytest.mark.thorough
    def test_dpop_starts_within_its_noise_in_float32_and_not_in_half_precision(self, half: Half):
        """A policy that is its reference is scored in another batch than the reference was, as at every start."""
        model = half.load()
        model.model.norm.unfreeze()
        assert compute_dpop_start(half.scorer_of(model), half.completions[:8]) > np.log(2) + 0.1
        model.set_dtype(mx.float32)
        assert compute_dpop_start(half.scorer_of(model), half.completions[:8]) == pytest.approx(np.log(2), abs=0.01)


def compute_dpop_start(scorer: Scorer, completions: Sequence[Completion]) -> float:
    """Compute dpop's mean loss (β 0.1, δ 50) in float64, the reference scored all at once and the policy one by one."""
    reference = np.array(scorer.logprobs(completions).sums.tolist(), dtype=np.float64)
    policy = np.array([scorer.logprobs([each]).sums.item() for each in completions], dtype=np.float64)
    gains = policy - reference
    chosen, rejected = gains[0::2], gains[1::2]
    return float(np.mean(np.logaddexp(0, -0.1 * (chosen - rejected)) + 50 * np.maximum(0, -chosen)))
