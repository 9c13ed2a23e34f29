"""The cells of `make bench-gpu`: one model in one precision, trained in each way over each kind of pairs, in this process."""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import mlx.core as mx
import numpy as np

from prefd.daemon.home.layout import Home
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.fine_tune import make_trainable
from prefd.daemon.worker.models.resting_adapters import RestingAdapters
from prefd.daemon.worker.models.tiers import find_tier
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Options
from prefd.daemon.worker.training.batch_settings import BATCH_TOKENS
from prefd.daemon.worker.training.optimizer import make_optimizer
from prefd.daemon.worker.training.schedule import Batching
from prefd.daemon.worker.training.trainer import ReferenceScores, Trainer, pad_rows
from prefd.plugins.types import Logprobs

PEERS = Path(__file__).parent.parent / ".peers"
WORKLOADS = {"even": (128, 128, 128), "real": (57, 350, 99)}
WAYS = {
    "plain": "prefd, single operations",
    "fused": "+ fused head",
    "compiled": "+ optimizer's step compiled",
    "ahead": "+ graphs built ahead: as prefd runs",
    "adapter-off": "the same, adapter off at each step",
    "peer": "mlx-lm-lora 5.10.2",
}
Cell = dict[str, Any]


def measure_cells(
    model: str, bits: int | None, workloads: Sequence[str], ways: Sequence[str], options: Any
) -> list[Cell]:
    """Measure each way over each kind of pairs; what fails says so in its cell, and what there is no time for is left out."""
    deadline = time.monotonic() + options.seconds
    cells: list[Cell] = []
    for workload in workloads:
        for way in ways:
            if time.monotonic() > deadline:
                cells.append({"workload": workload, "way": way, "fault": "no time was left"})
                continue
            try:
                measured = measure(job_of(model, bits, options), workload, way, options)
            except Exception as error:  # noqa: BLE001  # the others are to be measured all the same
                measured = {"fault": f"{type(error).__name__}: {str(error).strip()[:200]}"}
            cells.append({"workload": workload, "way": way} | measured)
            gc.collect()
            mx.clear_cache()
    return cells


def job_of(model: str, bits: int | None, options: Any) -> SpecifiedJob:
    training: dict[str, Any] = {"batch_size": options.batch_size, "learning_rate": 1e-5}
    if bits is not None:
        training["quantize"] = {"bits": bits}
    data = {"path": "none.jsonl", "max_length": 2048}
    spec = JobSpec.model_validate({"model": model, "data": data, "training": training})
    return SpecifiedJob(Home(Path(tempfile.gettempdir()) / "prefd-bench-gpu"), spec)


def measure(job: SpecifiedJob, workload: str, way: str, options: Any) -> Cell:
    pairs = make_pairs(workload, options.batch_size * (options.steps + 1), options.shrink)
    if way == "peer":
        return measure_peer(job, pairs, options)
    trainer = make_trainer(job, way)
    batches = [pairs[begin : begin + options.batch_size] for begin in range(0, len(pairs), options.batch_size)]
    trainer.step(1, batches[0])  # kernels are made, and functions compiled
    mx.reset_peak_memory()
    seconds = []
    for number, batch in enumerate(batches[1:], 2):
        began = time.perf_counter()
        trainer.step(number, batch)
        seconds.append(time.perf_counter() - began)
    peak = mx.get_peak_memory()
    with counted() as counts:
        trainer.step(len(batches) + 1, batches[-1])
    return summarize(seconds, batches[1:], peak) | counts


def summarize(seconds: Sequence[float], batches: Sequence[Sequence[Example]], peak: int) -> Cell:
    tokens = [sum(len(side.ids) for pair in batch for side in (pair.chosen, pair.rejected)) for batch in batches]
    rates = [count / time for count, time in zip(tokens, seconds)]
    return {"tokens_per_second": median(rates), "peak": peak, "steps": len(seconds)}


def make_trainer(job: SpecifiedJob, way: str) -> Trainer:
    training = job.spec.training
    assert training is not None
    mx.random.seed(0)
    model = loading.load(job.policy)
    make_trainable(model, job.policy, training)
    optimizer = make_optimizer(training, 1000, model)
    optimizer.init(model.trainable_parameters())
    mx.eval(model.parameters(), optimizer.state)
    scorer = fastest_scorer(model, replace(Options.from_spec(job.spec), fused_head=way != "plain"))
    batching = Batching(training.batch_size, BATCH_TOKENS[find_tier()])
    reference = make_adapter_off(scorer, model) if way == "adapter-off" else made_up_reference
    return Trainer(
        scorer,
        optimizer,
        job.loss,
        reference,
        batching,
        compiled=way in ("compiled", "ahead", "adapter-off"),
        can_undo=way in ("ahead", "adapter-off"),
    )


def made_up_reference(completions: Sequence[Completion]) -> Logprobs:
    """What the cache would give, which takes no time that could be measured: benchmarks/train.md."""
    return pad_rows([np.full(len(each.ids) - each.start, -2.0, np.float32) for each in completions])


def make_adapter_off(scorer: Any, model: Any) -> ReferenceScores:
    adapters = RestingAdapters.find(model)

    def scores(completions: Sequence[Completion]) -> Logprobs:
        with adapters.hold():
            logprobs = scorer.logprobs(completions)
        mx.eval(logprobs)
        return Logprobs(logprobs.tokens, logprobs.mask)

    return scores


def measure_peer(job: SpecifiedJob, pairs: list[Example], options: Any) -> Cell:
    if not (PEERS / "mlx_lm_lora").is_dir():
        return {"fault": "it is not in .peers: `make bench-gpu` puts it there"}
    sys.path.insert(0, str(PEERS))
    from peer_mlx_lm_lora import train

    with counted() as counts:
        measured = train(job, pairs)
    steps = len(measured["seconds"])
    batches = [pairs[begin : begin + options.batch_size] for begin in range(0, len(pairs), options.batch_size)][:steps]
    counts["evaluations"] = round(counts["evaluations"] / max(1, steps))
    counts.pop("operations")  # it counts the models' loading too
    return summarize(measured["seconds"][1:], batches[1:], mx.get_peak_memory()) | counts


def make_pairs(workload: str, count: int, shrink: int) -> list[Example]:
    """Pairs of random tokens; but for the even ones, lengths are from four fifths to six fifths of the workload's."""
    generator = np.random.default_rng(0)
    lengths = [max(2, length // shrink) for length in WORKLOADS[workload]]

    def draw(length: int) -> Any:
        size = length if workload == "even" else int(generator.integers(4 * length // 5, 6 * length // 5 + 1))
        return generator.integers(10, 200, max(2, size)).astype(np.uint32)

    pairs = []
    for row in range(1, count + 1):
        prompt, *answers = map(draw, lengths)
        chosen, rejected = (Completion(np.concatenate([prompt, each]), len(prompt)) for each in answers)
        pairs.append(Example(row, chosen, rejected))
    return pairs


@contextmanager
def counted() -> Iterator[Cell]:
    """Count the evaluations inside the block, and the operations of the graphs that are evaluated: at most so many kernels."""
    counts: Cell = {"evaluations": 0, "operations": 0}
    own: dict[str, Callable[..., Any]] = {"eval": mx.eval, "async_eval": mx.async_eval}

    def count(name: str) -> Callable[..., Any]:
        def evaluate(*arrays: Any) -> Any:
            counts["evaluations"] += 1
            counts["operations"] += count_operations(arrays)
            return own[name](*arrays)

        return evaluate

    for name in own:
        setattr(mx, name, count(name))
    try:
        yield counts
    finally:
        for name, function in own.items():
            setattr(mx, name, function)


def count_operations(arrays: Any) -> int:
    """Count the operations that are not computed yet in the graph of `arrays`, by the picture that MLX draws of it."""
    from mlx.utils import tree_flatten

    flat: Any = tree_flatten(list(arrays))
    leaves: Any = [value for _, value in flat if isinstance(value, mx.array)]
    with tempfile.NamedTemporaryFile("r", suffix=".dot") as file:
        mx.export_to_dot(file.name, *leaves)
        return sum("shape=rectangle" in line for line in Path(file.name).read_text(encoding="utf-8").splitlines())
