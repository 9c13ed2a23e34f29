"""The real model's numbers: against a float64 Llama written in numpy, and at step 0."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np
import numpy.typing as npt
import pytest

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.prepare import prepare
from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.plugins.manager import load_plugins
from support.full_logits import naive
from support.jobs_on_disk import make_job, run_precompute, run_training
from support.sample_pairs import PAIRS

pytestmark = pytest.mark.smol
Array = npt.NDArray[np.float64]


class Float64Llama:
    """SmolLM2's forward pass for one sequence, from its safetensors, all in float64."""

    def __init__(self, folder: Path) -> None:
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        weights = mx.load(str(folder / "model.safetensors"))
        assert isinstance(weights, dict)
        self.weights = {name: np.array(value.astype(mx.float32)) for name, value in weights.items()}

    def __getitem__(self, name: str) -> Array:
        return self.weights[f"model.{name}.weight"].astype(np.float64)

    def norm(self, x: Array, name: str) -> Array:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.config["rms_norm_eps"]) * self[name]

    def rope(self, x: Array) -> Array:
        """(heads, T, D), neighbours rotated together where `rope_traditional`."""
        size = x.shape[-1]
        angles = np.arange(x.shape[1])[:, None] * self.config["rope_theta"] ** (-np.arange(0, size, 2) / size)
        cos, sin = np.cos(angles), np.sin(angles)
        traditional = self.config.get("rope_traditional", False)
        a, b = (x[..., ::2], x[..., 1::2]) if traditional else (x[..., : size // 2], x[..., size // 2 :])
        turned = a * cos - b * sin, a * sin + b * cos
        return np.stack(turned, -1).reshape(x.shape) if traditional else np.concatenate(turned, -1)

    def attention(self, x: Array, layer: str) -> Array:
        heads, kv_heads = self.config["num_attention_heads"], self.config["num_key_value_heads"]

        def project(name: str, count: int) -> Array:
            return (x @ self[f"{layer}.self_attn.{name}_proj"].T).reshape(len(x), count, -1).transpose(1, 0, 2)

        q, k, v = self.rope(project("q", heads)), self.rope(project("k", kv_heads)), project("v", kv_heads)
        k, v = (np.repeat(each, heads // kv_heads, axis=0) for each in (k, v))
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
        scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ v
        return np.asarray(mixed.transpose(1, 0, 2).reshape(len(x), -1) @ self[f"{layer}.self_attn.o_proj"].T)

    def completion_logprobs(self, one: Completion) -> Array:
        x = self["embed_tokens"][one.ids]
        for n in range(self.config["num_hidden_layers"]):
            layer = f"layers.{n}"
            x = x + self.attention(self.norm(x, f"{layer}.input_layernorm"), layer)
            h = self.norm(x, f"{layer}.post_attention_layernorm")
            gate = h @ self[f"{layer}.mlp.gate_proj"].T
            x = (
                x
                + (gate / (1 + np.exp(-gate)) * (h @ self[f"{layer}.mlp.up_proj"].T)) @ self[f"{layer}.mlp.down_proj"].T
            )
        logits = self.norm(x, "norm")[one.start - 1 : -1] @ self["embed_tokens"].T
        top = logits.max(-1, keepdims=True)
        logprobs = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
        return np.asarray(logprobs[np.arange(len(logits)), one.ids[one.start :]])


@pytest.fixture(scope="module")
def batch(smol_layers: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Completion]:
    """Real pairs of different lengths, one of them long."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    long = {"prompt": "Count.", "chosen": " ".join(map(str, range(60))), "rejected": "One, two, many."}
    path.write_text("".join(json.dumps(row) + "\n" for row in [*PAIRS[:2], long]))
    tokenizer = mlx_lm.utils.load_tokenizer(smol_layers)
    data = prepare(DataSpec(path=str(path), validation=0.0), tokenizer, load_plugins().formats)
    return [side for example in data.train for side in (example.chosen, example.rejected)]


@pytest.fixture(scope="module")
def scorer(smol_layers: Path) -> Scorer:
    return fastest_scorer(mlx_lm.load(str(smol_layers))[0].freeze())


@pytest.mark.thorough  # worker/live/test_learner.py has a tiny llama in numpy, the test below the real model in mlx-lm
def test_logprobs_equal_a_float64_numpy_llama(smol_layers: Path, scorer: Scorer, batch: list[Completion]) -> None:
    exact = Float64Llama(smol_layers)
    picked = [batch[0], max(batch, key=lambda one: len(one.ids))]
    together = np.array(scorer.logprobs(picked).tokens)
    for row, one in enumerate(picked):
        np.testing.assert_allclose(
            together[row, : len(one.ids) - one.start], exact.completion_logprobs(one), rtol=0, atol=2e-4
        )


def test_logprobs_equal_full_logits_in_any_batch(scorer: Scorer, batch: list[Completion]) -> None:
    expected = [naive(scorer.model, one) for one in batch]
    for picked in ([1, 4], list(range(len(batch)))[::-1]):
        tokens = np.array(scorer.logprobs([batch[row] for row in picked]).tokens)
        for place, row in enumerate(picked):
            np.testing.assert_allclose(tokens[place, : len(expected[row])], expected[row], rtol=0, atol=2e-4)


@pytest.mark.thorough  # training/test_start.py has them on the tiny model
def test_step_0_losses_of_a_policy_that_is_the_reference(home: Path, smol_layers: Path, pairs_file: Path) -> None:
    values = {"sigmoid": math.log(2), "dpop": math.log(2), "hinge": 1.0, "ipo": 1 / (4 * 0.1**2)}
    training = {"batch_size": 4, "iters": 1, "lora": {"rank": 8}}
    data = {"path": str(pairs_file), "validation": 0.0}
    loss = [{"name": name} for name in values]
    job = make_job(home, model=str(smol_layers), data=data, loss=loss, training=training)
    run_precompute(job)
    run_training(job)
    (line,) = job.run.read_metrics()
    assert {name: line[f"loss/{name}"] for name in values} == pytest.approx(values, abs=1e-5)
