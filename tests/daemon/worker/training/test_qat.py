"""Quantization-aware training: the forward pass is the quantized fused model's, the gradient straight-through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model, quantize_model

from prefd.daemon.specs.training_spec import QATSpec, TrainingSpec
from prefd.daemon.worker.errors import JobError, Stopped
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.fine_tune import FineTune, make_trainable
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.outputs.adapter import save_adapter
from prefd.daemon.worker.outputs.fuse import write_fused
from prefd.daemon.worker.training.qat import QAT, RoundedWeight
from support import tiny_model as tiny
from support.adapters import TOKENS, apart, logits, move
from support.jobs_on_disk import (
    StopAtLook,
    adapter_digest,
    again,
    job,
    make_job,
    metrics,
    run_precompute,
    run_training,
)
from support.thinned import thin

KINDS: list[dict[str, Any]] = [
    {"fine_tune": "lora"},
    {"fine_tune": "dora"},
    {"fine_tune": "full"},
    {"fine_tune": "full", "num_layers": 1},
    {"num_layers": 1, "lora": {"keys": ["self_attn.q_proj", "model.embed_tokens"]}},  # the tied head with it
    {"fine_tune": "dora", "lora": {"keys": ["model.embed_tokens"]}},
]


def policy(model: Path, qat: dict[str, Any], **training: Any) -> tuple[nn.Module, QAT, FineTune]:
    """A trained-looking policy with QAT installed, not begun."""
    spec = TrainingSpec.model_validate({"qat": qat} | training)
    source = ModelSource(str(model))
    mx.random.seed(0)
    network = loading.load(source)
    fine_tune = make_trainable(network, source, spec)
    installed = QAT.install(network, spec.qat, mx.float32, steps=10)
    move(network)
    return network, installed, fine_tune


def quantized_after_fusing(
    model: Path, trained: nn.Module, fine_tune: FineTune, tmp_path: Path, **how: int
) -> nn.Module:
    source = ModelSource(str(model), tmp_path / "adapter")
    save_adapter(tmp_path / "adapter", trained, fine_tune.adapter_config(source))
    write_fused(source, tmp_path / "fused", dequantize=False)
    fused, config = load_model(tmp_path / "fused")
    return quantize_model(fused, config, how["group_size"], how["bits"])[0]


@pytest.mark.parametrize("training", KINDS, ids=str)
def test_the_forward_pass_is_the_quantized_fused_models(
    tiny_model: Path, tmp_path: Path, training: dict[str, Any]
) -> None:
    how = {"bits": 3, "group_size": 32}
    trained, qat, fine_tune = policy(tiny_model, how, **training)
    before = logits(trained)
    qat.begin_step(1)
    actual = logits(trained)
    trained.eval()
    assert mx.array_equal(logits(trained), actual)
    theirs = logits(quantized_after_fusing(tiny_model, trained, fine_tune, tmp_path, **how))
    assert apart(actual, theirs) < 1e-6
    assert apart(actual, before) > 1e-2


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_every_number_of_bits_on_experts_with_routers_in_a_form_of_their_own(tmp_path: Path, bits: int) -> None:
    model = tiny.build(tmp_path / "moe", tiny.QWEN3_MOE)
    trained, qat, fine_tune = policy(model, {"bits": bits}, lora={"rank": 4})
    qat.begin_step(1)
    routers = [module.rounding.settings for path, module in trained.named_modules() if path.endswith("mlp.gate")]
    assert routers == [{"bits": 8, "group_size": 64, "mode": "affine"}] * 2
    theirs = quantized_after_fusing(model, trained, fine_tune, tmp_path, bits=bits, group_size=64)
    assert apart(logits(trained), logits(theirs)) < 1e-6


@pytest.mark.parametrize("training", KINDS, ids=str)
def test_the_gradient_is_as_if_rounding_were_the_identity(tiny_model: Path, training: dict[str, Any]) -> None:
    """Naively: every weight is W + (round(W) − W), the bracket constant, W made of the trained leaves by autograd."""
    trained, qat, _ = policy(tiny_model, {"bits": 3, "group_size": 32}, **training)
    naive, naive_qat, _ = policy(tiny_model, {"bits": 3, "group_size": 32}, **training)
    direction = mx.random.normal(logits(trained).shape, key=mx.random.key(3))
    qat.begin_step(1)
    naive_qat.begin_step(1)  # for its frozen modules; the trained ones are exchanged here
    for module in naive_qat.trained:
        naive_module(module)

    def gradient(model: nn.Module) -> dict[str, mx.array]:
        loss, grads = nn.value_and_grad(model, lambda: (model(TOKENS) * direction).sum())()
        gradients: Any = tree_flatten(grads)
        return dict(gradients) | {"loss": loss}

    ours, theirs = gradient(trained), gradient(naive)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        scale = float(mx.abs(value).max())
        assert scale > 0 or name.endswith("lora_b"), name
        assert apart(ours[name], value) <= 2e-5 * scale + 1e-7, name


@pytest.mark.parametrize("kind", ["lora", "dora", "full"])
def test_layers_that_are_recomputed_in_the_backward_pass_have_the_same_gradient(tiny_model: Path, kind: str) -> None:
    trained, qat, _ = policy(tiny_model, {"bits": 3, "group_size": 32}, fine_tune=kind)
    qat.begin_step(1)
    layer = trained.layers[0]
    x = mx.random.normal((1, 5, 64), key=mx.random.key(2))

    def run(leaves: Any, x: mx.array) -> mx.array:
        layer.update(leaves)
        return mx.square(layer(x)).sum()

    leaves = layer.trainable_parameters()
    gradients: Any = tree_flatten(mx.grad(run)(leaves, x))
    recomputed: Any = tree_flatten(mx.grad(mx.checkpoint(run))(leaves, x))
    assert all(mx.array_equal(one, other) for (_, one), (_, other) in zip(gradients, recomputed))


def naive_module(module: nn.Module) -> None:
    """Make `module` compute with its merged weight, straight-through by addition."""

    def weight_of(self: Any) -> mx.array:
        if isinstance(self, RoundedWeight):
            return self.weight
        if "linear" in self:
            whole = self.linear.weight + (self.scale * (self.lora_a @ self.lora_b)).T
        else:
            whole = self.embedding.weight + self.scale * (self.lora_a @ self.lora_b)
        if "m" in self:
            whole = (self.m / mx.stop_gradient(mx.linalg.norm(whole, axis=1)))[:, None] * whole
        return whole

    def through(self: Any) -> mx.array:
        whole = weight_of(self)
        return whole + mx.stop_gradient(self.rounding(whole) - whole)

    class Naive(type(module)):  # type: ignore[misc]
        def __call__(self, x: mx.array) -> mx.array:
            if x.dtype in (mx.int32, mx.int64):
                return through(self)[x]
            return x @ through(self).T

        def as_linear(self, x: mx.array) -> mx.array:
            return x @ through(self).T

    module.__class__ = Naive


def test_only_this_model_changes(tiny_model: Path) -> None:
    classes = nn.Linear.__call__, nn.Embedding.__call__
    _, qat, _ = policy(tiny_model, {}, fine_tune="full")
    qat.begin_step(1)
    assert (nn.Linear.__call__, nn.Embedding.__call__) == classes
    other = loading.load(ModelSource(str(tiny_model)))
    assert not [module for module in other.modules() if isinstance(module, RoundedWeight)]


def test_it_begins_after_its_start_step_and_follows_each_step(tiny_model: Path) -> None:
    trained, qat, _ = policy(tiny_model, {"bits": 2, "group_size": 32, "start_step": 2})
    exact = logits(trained)
    qat.begin_step(2)
    qat.refresh()
    assert mx.array_equal(logits(trained), exact)
    qat.begin_step(3)
    rounded = logits(trained)
    assert apart(rounded, exact) > 1e-2
    move(trained, seed=5)
    assert mx.array_equal(logits(trained), rounded)  # one rounding serves the whole step
    qat.refresh()
    assert apart(logits(trained), rounded) > 1e-3


def test_weights_stored_in_half_precision_are_rounded_as_they_will_be_stored(tmp_path: Path) -> None:
    model = tiny.build_llama(tmp_path / "half")
    halves = mx.load(str(model / "model.safetensors"))
    assert isinstance(halves, dict)
    mx.save_safetensors(
        str(model / "model.safetensors"), {name: value.astype(mx.bfloat16) for name, value in halves.items()}
    )
    source = ModelSource(str(model))
    spec = TrainingSpec(qat=QATSpec(bits=4, group_size=32))
    trained = loading.load(source)
    fine_tune = make_trainable(trained, source, spec)
    move(trained)
    qat = QAT.install(trained, spec.qat, mx.bfloat16, steps=1)
    qat.begin_step(1)
    theirs = quantized_after_fusing(model, trained, fine_tune, tmp_path, bits=4, group_size=32)
    theirs.set_dtype(mx.float32)  # scales and biases: what they multiply stays packed
    assert apart(logits(trained), logits(theirs)) < 1e-6


@pytest.mark.parametrize("kind", thin(["lora", "dora", "full"], ("lora").__eq__))
def test_a_job_resumed_across_the_start_step_ends_bit_identical(
    home: Path, tiny_model: Path, pairs_file: Path, kind: str
) -> None:
    settings = {"fine_tune": kind, "iters": 4, "qat": {"bits": 3, "group_size": 32, "start_step": 2}}
    unbroken = job(home, tiny_model, pairs_file, job_id=1, training=settings)
    run_precompute(unbroken)
    run_training(unbroken)
    plain = job(home, tiny_model, pairs_file, job_id=2, training={**settings, "qat": None})
    run_training(plain)
    for job_id, step in enumerate((1, 2, 3), start=3):  # before, at and after it begins
        broken = job(home, tiny_model, pairs_file, job_id=job_id, training=settings)
        with pytest.raises(Stopped):
            run_training(broken, StopAtLook(step))
        run_training(make_job(home, job_id, **broken.spec.model_dump()))
        assert adapter_digest(broken) == adapter_digest(unbroken)
    assert adapter_digest(plain) != adapter_digest(unbroken)
    losses = [[line["loss"] for line in metrics(each)] for each in (plain, unbroken)]
    assert losses[0][:2] == losses[1][:2]
    assert losses[0][2] != losses[1][2]
    names = [mx.load(str(each.run.adapter / "adapters.safetensors")).keys() for each in (plain, unbroken)]  # type: ignore[union-attr]
    assert names[0] == names[1]


def test_evaluation_is_of_the_rounded_policy(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    def evaluated(job_id: int, **training: Any) -> float:
        running_job = job(
            home, tiny_model, pairs_file, job_id=job_id, training={"iters": 1, "learning_rate": 1e-9} | training
        )
        run_precompute(running_job)
        run_training(running_job)
        (line,) = [line for line in running_job.run.read_metrics() if "eval_loss" in line]
        return line["eval_loss"]

    assert evaluated(1) == pytest.approx(np.log(2), abs=1e-5)
    assert abs(evaluated(2, qat={"bits": 2, "group_size": 32}) - np.log(2)) > 5e-5


@pytest.mark.parametrize(
    ("qat", "steps", "message"),
    [
        ({"group_size": 128}, 9, r"training\.qat: no trained weight can be quantized in groups of 128"),
        ({"start_step": 3}, 3, r"training\.qat\.start_step is 3 and the job has 3 steps: it never comes"),
    ],
)
def test_what_can_never_be_is_refused(tiny_model: Path, qat: dict[str, Any], steps: int, message: str) -> None:
    source = ModelSource(str(tiny_model))
    spec = TrainingSpec.model_validate({"qat": qat, "lora": {"keys": ["self_attn.q_proj"]}})
    trained = loading.load(source)
    make_trainable(trained, source, spec)
    with pytest.raises(JobError, match=message):
        QAT.install(trained, spec.qat, mx.float32, steps)


def test_a_model_that_is_quantized_already_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    trained, _, fine_tune = policy(tiny_model, {}, num_layers=1)
    quantized = quantized_after_fusing(tiny_model, trained, fine_tune, tmp_path, bits=4, group_size=32)
    with pytest.raises(JobError, match=r"training\.qat: model\..* is quantized already; train from the model"):
        QAT.install(quantized, QATSpec(), mx.float32, 9)


@pytest.mark.parametrize("mode", tiny.MODES)
def test_a_base_that_is_quantized_in_any_mode_is_refused(tmp_path: Path, mode: str) -> None:
    base = tiny.quantized(tiny.build_llama(tmp_path / "plain"), tmp_path / "base", mode)
    model, source = loading.load_lazily(ModelSource(str(base))), ModelSource(str(base))
    spec = TrainingSpec.model_validate({"qat": {}, "iters": 4})
    make_trainable(model, source, spec)
    with pytest.raises(JobError, match=r"training\.qat: model\..* is quantized already; train from the model that it"):
        QAT.install(model, spec.qat, mx.float32, 4)


def test_a_step_that_is_evaluated_by_another_worker_is_evaluated_rounded(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    training = {
        "iters": 1,
        "batch_size": 3,
        "batch_tokens": 1,
        "steps_per_eval": 1,
        "qat": {"bits": 2, "group_size": 32},
    }
    settings = {"training": training, "data": {"validation": 0.4}}
    unbroken = job(home, tiny_model, pairs_file, "cpo", 1, **settings)
    broken = job(home, tiny_model, pairs_file, "cpo", 2, **settings)
    run_training(unbroken)
    with pytest.raises(Stopped, match="stopped in the evaluation after step 1 of 1"):
        run_training(broken, StopAtLook(4))
    run_training(again(broken))
    losses = [[line.get("eval_loss") for line in each.run.read_metrics()] for each in (broken, unbroken)]
    assert losses[0] == losses[1]
