"""mlx-lm-lora's trainers on the examples that prefd trains on: its own `train_dpo` and `train_cpo`, their defaults but for
the size.

It does not start on a CPU as it is: it asks the device for a working set and sets a wired limit, which only Metal has.
Both questions are answered here, and nothing else is changed.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.fine_tune import make_trainable
from prefd.daemon.worker.training.optimizer import make_optimizer


def train(job: SpecifiedJob, examples: Sequence[Example], loss: str = "sigmoid") -> dict[str, Any]:
    """One epoch; the seconds and the loss of each step. `loss` as prefd names it: those that begin with cpo have no
    reference. For the others two models are in memory: that is how it works.
    """
    if mx.default_device() == mx.cpu:
        info = mx.device_info
        mx.device_info = lambda *arguments: {**info(*arguments), "max_recommended_working_set_size": 0}
        mx.set_wired_limit = lambda limit: 0
    from mlx_lm_lora.trainer.cpo_trainer import CPOTrainingArgs, train_cpo
    from mlx_lm_lora.trainer.dpo_trainer import DPOTrainingArgs, train_dpo

    training = job.spec.training
    assert training is not None
    mx.random.seed(0)
    np.random.seed(0)
    model = loading.load(job.policy)
    make_trainable(model, job.policy, training)
    rows = [
        {
            "chosen": each.chosen.ids.tolist(),
            "rejected": each.rejected.ids.tolist(),
            "chosen_prompt_length": each.chosen.start,
            "rejected_prompt_length": each.rejected.start,
        }
        for each in examples
    ]
    steps: list[dict[str, Any]] = []

    class Note:
        def on_train_loss_report(self, info: dict[str, Any]) -> None:
            steps.append(info)

        def on_val_loss_report(self, info: dict[str, Any]) -> None: ...

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        free = loss.startswith("cpo")
        arguments = (CPOTrainingArgs if free else DPOTrainingArgs)(
            loss_type=loss.removeprefix("cpo_") if loss != "cpo" else "sigmoid",
            batch_size=training.batch_size,
            iters=len(examples) // training.batch_size,
            max_seq_length=job.spec.data.max_length,
            steps_per_report=1,
            grad_checkpoint=training.grad_checkpoint,
            adapter_file=str(Path(folder) / "adapters.safetensors"),
        )
        mx.reset_peak_memory()
        optimizer = make_optimizer(training, arguments.iters, model)
        if free:
            train_cpo(model, optimizer, rows, args=arguments, training_callback=Note())
        else:
            reference = loading.load(job.reference).freeze()
            train_dpo(model, reference, optimizer, rows, args=arguments, training_callback=Note())
    return {
        "seconds": [1 / step["iterations_per_second"] for step in steps],
        "losses": [step["train_loss"] for step in steps],
    }
