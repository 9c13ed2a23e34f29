"""What a trained job leaves besides its adapter: refused before training where it cannot be made, written behind it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
from mlx import nn
from mlx_lm.models.switch_layers import QuantizedSwitchLinear

from prefd.daemon.worker import fuse, peft
from prefd.daemon.worker.checkpoint import told
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import Job

log = logging.getLogger(__name__)

DEQUANTIZED = (nn.QuantizedLinear, nn.QuantizedEmbedding, QuantizedSwitchLinear)
"""What mlx-lm's `dequantize_model` knows."""


def check(job: Job, model: nn.Module) -> None:
    """Raises `JobError` when the spec's `output:` cannot be had of `model`, the policy as it will be trained."""
    wanted = job.spec.output
    if wanted.dequantize:
        quantized = [(name, module) for name, module in model.named_modules() if "scales" in module]
        if not quantized:
            raise JobError(f"output.dequantize: no weight of {job.policy.model} is quantized; take it away")
        if unknown := [name for name, module in quantized if not isinstance(module, DEQUANTIZED)]:
            raise JobError(
                f"output.dequantize: mlx-lm cannot dequantize {unknown[0]} of {job.policy.model}; "
                "without it the fused model stays quantized"
            )
    if wanted.peft:
        peft.check(job.policy, model)


def write(job: Job) -> dict[str, Path]:
    """Write what the spec's `output:` asks for, from the job's base and its adapter on disk: name → folder."""
    wanted, run = job.spec.output, job.run
    made: dict[str, Path] = {}
    mx.clear_cache()  # the trained model's memory
    if wanted.fuse:
        log.info("fusing the adapter into the model")
        with told("the fused model", run.root):
            fuse.write_fused(replace(job.policy, adapter=run.adapter), run.fused, wanted.dequantize)
        made["fused"] = run.fused
    if wanted.peft:
        with told("the PEFT adapter", run.root):
            peft.write_peft(job.policy, run.adapter, run.peft)
        made["peft"] = run.peft
    return made
