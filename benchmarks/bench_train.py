"""Training from the cache, against the same training with a live reference, and against mlx-lm-lora's DPO trainer.

    make bench WHICH=train    or: python benchmarks/bench_train.py [--pairs 8] [--repeats 3] [--markdown results.md]

Two workloads: real pairs (alpaca_eval where it is to be had, else the demo's), and synthetic ones of 128 prompt and 128
answer tokens on both sides. Every variant trains one epoch over the same tokens with the same LoRA layers and batch
size, in processes of its own (that is what peak memory means); the variants take turns, and each number is the median
of the repeats. mlx-lm-lora is measured by its own `train_dpo` (see peer_mlx_lm_lora.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from prefd.daemon.machine import blas

blas.preload()

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import mlx.core as mx
import numpy as np
from bare_passes import run_bare
from clock import now
from reference_costs import list_costs

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import write_json
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.fine_tune import make_trainable
from prefd.daemon.worker.models.resting_adapters import RestingAdapters
from prefd.daemon.worker.models.tiers import find_tier
from prefd.daemon.worker.reference.scoring_pass import batch_by_key, score
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.plan import Slack
from prefd.daemon.worker.scoring.scorer import Options, Scorer
from prefd.daemon.worker.training.adapter_off import AdapterOffReference
from prefd.daemon.worker.training.batch_settings import BATCH_TOKENS
from prefd.daemon.worker.training.optimizer import make_optimizer
from prefd.daemon.worker.training.schedule import Batching, Schedule
from prefd.daemon.worker.training.train import open_cached_reference
from prefd.daemon.worker.training.trainer import ReferenceScores, Trainer
from prefd.plugins.types import Logprobs
from support.live_reference import live_reference

ROOT = Path(__file__).parent.parent
MODEL = ROOT / ".models" / "SmolLM2-135M-Instruct"
PEERS = ROOT / ".peers"
DATA = [ROOT.parent / "shared" / "data" / "alpaca_eval_pairs.jsonl", ROOT / "contrib" / "demo" / "pairs.jsonl"]
WORKLOADS = ("real", "even")
TITLES = {
    "cached": "prefd",
    "checkpointed": "prefd, layers recomputed",
    "live": "prefd, live reference",
    "adapter-off": "prefd, adapter off",
    "compiled": "prefd, step compiled",
    "bare": "bare passes",
    "bare-apart": "bare passes, prompts before answers",
    "bare-padded": "these, answers padded",
    "alone": "prompts shared, nothing batched",
    "apart": "logits at answers only",
    "full": "cached reference, logits everywhere",
    "full-live": "live reference, logits everywhere",
    "peer": "mlx-lm-lora 5.10.2",
}
USUAL = ("cached", "adapter-off", "live", "peer", "bare")
EVEN = 128


def main() -> None:
    options = arguments()
    if options.child:
        print(json.dumps(measure(options.child, RunningJob.load(Home(options.home), 1), options.workload)))
        return
    variants = list(options.variants)
    if "peer" in variants and not (PEERS / "mlx_lm_lora").is_dir():
        variants.remove("peer")
        print(
            f"mlx-lm-lora is not at {PEERS} (`make bench WHICH=train` puts it there); it is left out", file=sys.stderr
        )
    lines = [
        (
            f"{options.model.name}, {options.pairs} pairs, batch size {options.batch_size}, LoRA rank 8 on every layer, medians of "
            f"{options.repeats} repeats"
        ),
        f"on {platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    ]
    for workload in options.workloads:
        with tempfile.TemporaryDirectory(prefix="prefd-bench-") as folder:
            lines += ["", *workload_report(options, workload, variants, Home(Path(folder)))]
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, pairs=8, max_length=1024)
    parser.add_argument(
        "--variants", nargs="+", choices=TITLES, default=USUAL, help="the first is what others are divided by"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument("--child", choices=["score", *TITLES], help=argparse.SUPPRESS)
    parser.add_argument("--workload", choices=WORKLOADS, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def add_options(parser: argparse.ArgumentParser, pairs: int, max_length: int) -> None:
    """What a benchmark of training runs on, with these defaults."""
    parser.add_argument("--pairs", type=int, default=pairs)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--max-length", type=int, default=max_length)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--data", type=Path, default=next(path for path in DATA if path.exists()))
    parser.add_argument("--markdown", type=Path, help="write the tables here too")


def workload_report(options: argparse.Namespace, workload: str, variants: Sequence[str], home: Home) -> list[str]:
    prepare(options, home)
    scored = child("score", workload, home)
    runs: dict[str, list[dict[str, Any]]] = {variant: [] for variant in variants}
    for repeat in range(options.repeats):
        for variant in variants if repeat % 2 == 0 else reversed(variants):
            print(f"{workload}, repeat {repeat + 1} of {options.repeats}: {TITLES[variant]}", file=sys.stderr)
            if variant == "adapter-off":  # a cache of its own, with nothing in it
                with tempfile.TemporaryDirectory(prefix="prefd-bench-") as folder:
                    prepare(options, Home(Path(folder)))
                    runs[variant].append(child(variant, workload, Home(Path(folder))))
            else:
                runs[variant].append(child(variant, workload, home))
    costs = []
    if {"cached", "adapter-off"} <= runs.keys():
        epochs = {variant: median(sum(run["seconds"]) for run in results) for variant, results in runs.items()}
        costs = ["", *list_costs(scored["seconds"], epochs)]
    return [*heading(options, workload, scored), "", *table(options, runs), *costs, "", *closing(scored, runs)]


def prepare(options: argparse.Namespace, home: Home) -> None:
    """A job over `--pairs` pairs spread evenly over the data, one epoch."""
    home.create()
    rows = options.data.read_text(encoding="utf-8").splitlines()
    picked = [rows[n * len(rows) // options.pairs] for n in range(options.pairs)]
    pairs = home.root / "pairs.jsonl"
    pairs.write_text("\n".join(picked) + "\n", encoding="utf-8")
    training = {"batch_size": options.batch_size, "learning_rate": 1e-5}
    data = {"path": str(pairs), "max_length": options.max_length, "validation": 0.0}
    spec = JobSpec.model_validate({"model": str(options.model), "data": data, "training": training})
    home.job(1).mkdir()
    write_json(home.job(1) / "spec.json", spec.model_dump())


def child(variant: str, workload: str, home: Home) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", variant, "--workload", workload, "--home", str(home.root)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(variant: str, job: RunningJob, workload: str) -> dict[str, Any]:
    """One variant in this process."""
    examples = list(job.examples) if workload == "real" else even_pairs(len(job.examples))
    if variant == "score":
        return scored_once(job, examples)
    if variant == "peer":
        sys.path.insert(0, str(PEERS))
        from peer_mlx_lm_lora import train

        measured = train(job, examples)
    else:
        measured = trained(variant, job, examples)
    scale = 1 if sys.platform == "darwin" else 1024
    return measured | {
        "peak_mlx": mx.get_peak_memory(),
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale,
    }


def even_pairs(count: int) -> list[Example]:
    """Random tokens: a prompt of 128, and two answers of 128 to it."""
    random = np.random.default_rng(0)
    pairs = []
    for row in range(1, count + 1):
        prompt, *answers = random.integers(10, 40_000, (3, EVEN)).astype(np.uint32)
        chosen, rejected = (Completion(np.concatenate([prompt, answer]), EVEN) for answer in answers)
        pairs.append(Example(row, chosen, rejected))
    return pairs


def scored_once(job: RunningJob, examples: Sequence[Example]) -> dict[str, Any]:
    """The reference pass over what the cache lacks; its seconds."""
    sides = [side for each in examples for side in (each.chosen, each.rejected)]
    sides_by_key = {job.key(side): side for side in sides}
    scorer = fastest_scorer(loading.load(job.reference).freeze())
    began = now()
    for batch in batch_by_key(sides_by_key):
        job.store.put(score(scorer, batch))
    lengths = [
        [each.chosen.start, *(len(side.ids) - side.start for side in (each.chosen, each.rejected))] for each in examples
    ]
    return {
        "seconds": now() - began,
        "completions": len(sides_by_key),
        "tokens": sum(len(side.ids) for side in sides),
        "means": np.mean(lengths, axis=0).tolist(),
    }


def trained(variant: str, job: RunningJob, examples: Sequence[Example]) -> dict[str, Any]:
    """Every step of one epoch, with the reference from the cache or from a second model."""
    training = job.spec.training
    assert training is not None
    mx.random.seed(0)
    model = loading.load(job.policy)
    make_trainable(model, job.policy, training)
    scorer = simpler(fastest_scorer(model, Options.from_spec(job.spec)), variant)
    schedule = Schedule.plan(examples, training)
    batching = Batching(training.batch_size, training.batch_tokens or BATCH_TOKENS[find_tier()])
    if variant.startswith("bare"):
        mx.reset_peak_memory()
        steps = [schedule.pairs(step) for step in range(1, schedule.total_steps + 1)]
        return {"seconds": run_bare(scorer, steps, variant), "losses": [], "reference_seconds": 0.0, "way": "bare"}
    reference = Timed(choose_reference(variant, job, model, scorer))
    optimizer = make_optimizer(training, schedule.total_steps, model)
    trainer = Trainer(
        scorer,
        optimizer,
        job.loss,
        reference,
        batching,
        compiled=variant == "compiled",
    )
    mx.reset_peak_memory()
    seconds, losses = [], []
    for step in range(1, schedule.total_steps + 1):
        began = now()
        losses.append(trainer.step(step, schedule.pairs(step))["loss"])
        seconds.append(now() - began)
    return {"seconds": seconds, "losses": losses, "reference_seconds": reference.seconds, "way": scorer.describe()}


def simpler(scorer: Scorer, variant: str) -> Scorer:
    """`scorer` with what a variant leaves out left out, or with its layers recomputed."""
    if variant == "checkpointed":
        return replace(scorer, options=replace(scorer.options, checkpoint_layers=True))
    alone = replace(scorer, options=replace(scorer.options, slack=Slack(longest=0)))
    if variant == "alone":
        return alone
    if variant == "apart":
        return replace(alone, shares_prompts=False)
    if variant.startswith("full"):
        return replace(alone, shares_prompts=False, parts=None)
    return scorer


def choose_reference(variant: str, job: RunningJob, model: Any, scorer: Scorer) -> ReferenceScores:
    job.store.refresh()  # the model's digest is made before the first step, as a job has it
    if variant == "adapter-off":
        return AdapterOffReference(job, lambda: scorer, RestingAdapters.find(model))
    return second_model(job, variant) if variant.endswith("live") else open_cached_reference(job)


def second_model(job: RunningJob, variant: str) -> ReferenceScores:
    return live_reference(simpler(fastest_scorer(loading.load(job.reference).freeze()), variant))


class Timed:
    """Adds up the seconds that a source of reference log-probabilities takes."""

    def __init__(self, scores: Any) -> None:
        self.scores = scores
        self.seconds = 0.0

    def __call__(self, completions: Sequence[Completion]) -> Logprobs:
        began = now()
        logprobs: Logprobs = self.scores(completions)
        mx.eval(logprobs)
        self.seconds += now() - began
        return logprobs


def heading(options: argparse.Namespace, workload: str, scored: dict[str, Any]) -> list[str]:
    prompt, chosen, rejected = (round(mean) for mean in scored["means"])
    name = f"pairs of {options.data.name}" if workload == "real" else "synthetic pairs"
    return [f"**{name}**, on average {prompt} prompt, {chosen} chosen and {rejected} rejected tokens"]


def table(options: argparse.Namespace, runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Each variant's medians, and how many times as much as prefd each takes."""
    rows = [
        ("seconds per pair", lambda run: sum(run["seconds"]) / options.pairs, "{:.2f}"),
        ("peak memory of MLX, GB", lambda run: run["peak_mlx"] / 1e9, "{:.2f}"),
        ("peak memory of the process, GB", lambda run: run["peak_rss"] / 1e9, "{:.2f}"),
    ]
    first, *others = runs
    lines = [
        "| | "
        + " | ".join(TITLES[each] for each in runs)
        + "".join(f" | {TITLES[each]} ÷ {TITLES[first]}" for each in others)
        + " |",
        "|---" * (1 + len(runs) + len(others)) + "|",
    ]
    for name, value, form in rows:
        medians = {variant: median(map(value, results)) for variant, results in runs.items()}
        cells = [form.format(each) for each in medians.values()]
        cells += [f"{medians[variant] / medians[first]:.2f}" for variant in others]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def closing(scored: dict[str, Any], runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    text = (
        f"The reference pass, once for every job over these pairs: {scored['seconds']:.1f} s for "
        f"{scored['completions']} completions."
    )
    if "cached" in runs:
        share = median(run["reference_seconds"] / sum(run["seconds"]) for run in runs["cached"])
        text += f" Reading it: {share:.2%} of an epoch. prefd's way: {runs['cached'][0]['way']}."
    for variant, name in (("live", "live"), ("adapter-off", "adapter off")):
        if {"cached", variant} <= runs.keys():
            pairs = zip(runs["cached"], runs[variant])
            apart = max(abs(a - b) for one, other in pairs for a, b in zip(one["losses"], other["losses"]))
            text += f" Largest difference of a step's loss between cached and {name}: {apart:.1e}."
    if {"cached", "bare"} <= runs.keys():
        ratio = median(sum(a["seconds"]) / sum(b["seconds"]) for a, b in zip(runs["cached"], runs["bare"]))
        text += f" An epoch is {ratio:.2f} times a bare forward and backward pass over its tokens, each once and none padded."
    return [text]


if __name__ == "__main__":
    main()
