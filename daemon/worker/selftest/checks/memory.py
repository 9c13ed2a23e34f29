"""Compares what training takes of memory, at its peak, with the estimate that batches are chosen by.

One pass over a pair, with and without recomputing layers; and what is kept for later after 20 passes of unlike lengths.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import psutil
from mlx import nn

from prefd.daemon.machine.memory import held_bytes
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.memory import bound_device_memory
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Options, Scorer
from prefd.daemon.worker.selftest.devices import choose_half, is_gpu
from prefd.daemon.worker.selftest.random_models import Size, add_lora, list_completions, make_model, make_pairs
from prefd.daemon.worker.training import memory
from prefd.daemon.worker.training.schedule import Batching, count_tokens
from prefd.daemon.worker_tasks.check_results import CheckResult

LEAST, MOST = 0.65, 1.6
"""The estimate, as a share of what was measured: below, a job that does not fit is begun; above, one that fits is cut small."""
PROMPT, ANSWER = 96, 320
PASSES = 20
"""Passes of unlike lengths, after which it is looked at what buffers are kept."""
MIB = 2**20
MOST_BUFFERS = 2 * 2**30
"""Bytes that jobs let MLX keep for later, at most."""


def check(model: str | None) -> CheckResult:
    """Compare measurement and estimate, of a random model or the user's own."""
    bound_device_memory()
    network = open_model(model)
    pair = make_pairs(1, PROMPT, ANSWER, vocabulary=count_vocabulary(network))[0]
    tokens = count_tokens(pair)
    numbers: dict[str, float] = {"tokens": tokens}
    wrong = []
    for name, recomputes in (("kept", False), ("recomputed", True)):
        options = Options(checkpoint_layers=recomputes)
        scorer = fastest_scorer(network, options)
        measured = measure_pass(scorer, pair)
        estimate = memory.estimate(network, {}, [pair], Batching(1, None), options)
        estimated = (
            estimate.activations + estimate.gradients // 2
        )  # the other half is a step's sum, which is not made here
        ratio = estimated / max(measured, 1)
        numbers |= {
            f"{name}_mib": round(measured / MIB, 1),
            f"{name}_estimate_mib": round(estimated / MIB, 1),
            f"{name}_ratio": round(ratio, 2),
            f"{name}_bytes_a_token_and_layer": round(measured / tokens / count_layers(network)),
        }
        if not LEAST <= ratio <= MOST:
            wrong.append(f"with layers {name}, {estimated / MIB:.0f} MiB were estimated and {measured / MIB:.0f} taken")
    numbers["process_mib"] = round(held_bytes(psutil.Process()) / MIB, 1)
    if is_gpu():  # MLX keeps no buffers on a CPU
        buffers, allowed = measure_buffers(fastest_scorer(network, Options())) / MIB, MOST_BUFFERS / MIB
        numbers["buffers_mib"] = round(buffers, 1)
        if buffers > allowed:
            wrong.append(f"{buffers:.0f} MiB are kept for later after {PASSES} passes, and {allowed:.0f} are allowed")
    if wrong:
        return CheckResult(
            outcome="failed",
            finding="; ".join(wrong),
            numbers=numbers,
            remedy="set training.batch_tokens and grad_checkpoint by hand where memory is scarce, and report this block",
        )
    finding = (
        f"a pair takes {numbers['kept_mib']:.0f} MiB, estimated at {numbers['kept_ratio']:.2f} times that; with layers "
        f"recomputed {numbers['recomputed_mib']:.0f} MiB, estimated at {numbers['recomputed_ratio']:.2f} times"
    )
    return CheckResult(outcome="ok", finding=finding, numbers=numbers)


def open_model(model: str | None) -> nn.Module:
    """Open the user's model, or make a random one in the type that jobs compute in here; trainable by LoRA."""
    if model is None:
        network = make_model("llama", Size(vocabulary=4096), choose_half())
    else:
        network = loading.load(ModelSource(model))
    add_lora(network)
    network.train()
    return network


def count_layers(network: nn.Module) -> int:
    """Count the model's layers."""
    layers: Any = network.layers
    return len(layers)


def count_vocabulary(network: nn.Module) -> int:
    """Count the tokens that the model knows."""
    return int(network(mx.array([[1]])).shape[-1])


def measure_buffers(scorer: Scorer) -> int:
    """Measure the bytes of the buffers that MLX keeps for later after passes of unlike lengths."""
    for seed in range(PASSES):
        measure_pass(scorer, make_pairs(1, 16, 24, scorer.vocabulary, seed)[0])
    return int(mx.get_cache_memory())


def measure_pass(scorer: Scorer, pair: Example) -> int:
    """Measure the bytes that a forward and backward pass over `pair` takes at its peak, besides what is there already."""
    mx.eval(scorer.model.parameters())
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(scorer.value_and_grad(list_completions([pair]), lambda scored: (scored.sums.sum(), None)))
    return int(mx.get_peak_memory() - before)
