"""The optimizer's step, compiled: the same weights, and runs that go on from a checkpoint to the last bit."""

from __future__ import annotations

import math
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx.utils import tree_flatten, tree_map

from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.errors import JobError, Stopped
from prefd.daemon.worker.scoring import scorer
from prefd.daemon.worker.training import weight_update
from prefd.daemon.worker.training.optimizer import CLASSES, make_optimizer
from prefd.daemon.worker.training.weight_update import WeightUpdate, decide_compiling
from support.jobs_on_disk import StopAtLook, adapter_digest, again, job, metrics, run_precompute, run_training
from support.thinned import thin

LIVE = {"live": "adapter_off"}
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="MLX compiles with g++ on a CPU")


class Tiny(nn.Module):
    """A model of two layers, which every optimizer takes."""

    def __init__(self, dtype: mx.Dtype) -> None:
        super().__init__()
        mx.random.seed(3)
        self.layers = [nn.Linear(8, 4), nn.Linear(4, 4)]
        self.set_dtype(dtype)


def trained(spec: dict[str, Any], compiled: bool, dtype: mx.Dtype = mx.float32) -> dict[str, Any]:
    """The weights and the optimizer's state after five steps."""
    model = Tiny(dtype)
    training = TrainingSpec.model_validate({"learning_rate": 1e-2} | spec)
    optimizer = make_optimizer(training, 5, model)
    optimizer.init(model.trainable_parameters())
    update = WeightUpdate(model, optimizer, 0.5, compiled)
    for step in range(5):
        mx.random.seed(step)
        parts = [
            tree_map(lambda each: mx.random.normal(each.shape).astype(each.dtype), model.trainable_parameters())
            for _ in range(2)
        ]
        total = update.add(update.add(None, parts[0]), parts[1])
        update.apply(total, 4.0 if step % 2 else 0.25)
        mx.eval(model.trainable_parameters(), optimizer.state)
    return {name: np.array(value.astype(mx.float32)) for name, value in tree_flatten([model, optimizer.state])}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_compiled_it_takes_the_same_steps(name: str) -> None:
    spec = {"optimizer": name, "lr_schedule": {"name": "cosine_decay", "warmup": 2}}
    as_they_come, compiled = trained(spec, False), trained(spec, True)
    assert compiled.keys() == as_they_come.keys()
    for place, value in compiled.items():
        np.testing.assert_allclose(value, as_they_come[place], rtol=2e-5, atol=1e-6, err_msg=place)


def test_compiled_it_keeps_float32_copies_of_half_precision() -> None:
    as_they_come, compiled = trained({}, False, mx.bfloat16), trained({}, True, mx.bfloat16)
    assert any("masters" in name for name in compiled)
    for place, value in compiled.items():
        np.testing.assert_allclose(value, as_they_come[place], rtol=1e-2, atol=1e-5, err_msg=place)


@pytest.mark.parametrize(
    ("as_gpu", "reference"),
    thin(product([False, True], [None, LIVE]), [(True, None)].__contains__),
)
def test_a_resumed_run_that_compiles_ends_bit_identical(
    home: Path,
    tiny_model: Path,
    pairs_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    reference: dict[str, str] | None,
    as_gpu: bool,
) -> None:
    """`as_gpu`: forward and backward pass as one graph, the next one built while it runs, the head by MLX's fused kernel."""
    monkeypatch.setattr(scorer, "is_on_gpu", lambda: as_gpu)
    training = {
        "epochs": 3, "lora": {"rank": 4, "dropout": 0.2}, "save_every": 2, "max_grad_norm": 0.1, "compile": True,
        "lr_schedule": {"name": "cosine_decay", "warmup": 2}, "batch_tokens": 64,
    }  # fmt: skip
    more = {"training": training} | ({} if reference is None else {"reference": reference})
    unbroken = job(home / "unbroken", tiny_model, pairs_file, **more)
    plain = job(home / "plain", tiny_model, pairs_file, **(more | {"training": training | {"compile": False}}))
    broken = job(home, tiny_model, pairs_file, **more)
    if reference is None:
        for each in (unbroken, plain, broken):
            run_precompute(each)
    for each in (unbroken, plain):
        run_training(each)
    with pytest.raises(Stopped):
        run_training(broken, StopAtLook(8))
    resumed = again(broken)
    run_training(resumed)
    assert adapter_digest(resumed) == adapter_digest(unbroken)
    losses = [[line["loss"] for line in metrics(each)] for each in (resumed, unbroken, plain)]
    assert losses[0] == losses[1]
    np.testing.assert_allclose(losses[1], losses[2], rtol=0, atol=1e-5)
    assert losses[0][0] == pytest.approx(math.log(2), abs=1e-5)


def test_a_machine_that_cannot_compile_is_told_of_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not decide_compiling("auto")  # a CPU gains nothing
    monkeypatch.setattr(weight_update, "_find_fault", lambda: "no compiler")
    assert not decide_compiling(False)
    with pytest.raises(
        JobError, match=r"training\.compile is true, and MLX cannot compile .*: no compiler; .* \(g\+\+\)"
    ):
        decide_compiling(True)
