"""Plants turned labels among the shared pairs, and measures how many of them `prefd xray` lists first, beside simpler rankings.

    python benchmarks/bench_xray.py [--pairs FILE] [--max-length 512] [--home DIR] [--markdown benchmarks/xray.md]
    python benchmarks/bench_xray.py --policies 0.1 0.05 0.01 --max-length 128 --home DIR [--markdown benchmarks/xray.md]

The reference, SmolLM2, scores each answer once: turning a pair round changes no answer. `--home` keeps those scores for another run;
pairs that it has not scored are left out. For each share of turned labels, five draws; of k turned ones the first k of each ranking
are looked at, where precision and recall are the same number.

`--policies` measures the last table alone: for each share, a policy is trained on the pairs with so many labels turned, and ranks
them by its implicit reward (xray_policies.py).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from prefd.daemon.machine import blas

blas.preload()

import numpy as np
import numpy.typing as npt
from xray_policies import TRAINING, TrainedRanking, rank_by_policy

from prefd.daemon.home.layout import Home
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.xray.examination import examine
from prefd.daemon.worker.xray.neighbours import rank_margins
from prefd.daemon.worker.xray.pair_features import PairFeatures, Scores
from prefd.daemon.worker.xray.predictability import predict_labels
from prefd.daemon.worker_tasks.xrays import XRayInput

ROOT = Path(__file__).resolve().parents[1]
SHARES = (0.01, 0.05, 0.10)
DRAWS = 5
POLICIES = "## Beside the implicit reward of a trained policy"
ALIKE = 1.5
"""Answers whose lengths differ by less than this factor: length says little of them."""

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def main() -> None:
    """Measure, and print the tables."""
    options = read_arguments()
    with tempfile.TemporaryDirectory(prefix="prefd-bench-") as folder:
        home = Home(options.home or Path(folder))
        if options.policies:
            options.pairs = keep_one_a_prompt(options.pairs, home.root / "one_a_prompt.jsonl")
        job = SpecifiedJob(home, make_spec(options))
        if options.policies:
            publish(compare_policies(options, job), options.markdown)
            return
        examples, scores, seconds = read_scores(job, options)
    features = PairFeatures.measure(examples, scores)
    ratio = np.abs(features.length_ratio)
    alike = ratio < np.log(ALIKE)
    lines = [describe(options, job, features, alike, seconds)]
    lines += tabulate("All pairs", examples, scores, np.ones(len(examples), bool))
    lines += tabulate(f"Only pairs whose answers differ in length by less than {ALIKE} times", examples, scores, alike)
    first = sorted(np.unique(features.prompts, return_index=True)[1])
    alone = [examples[index] for index in first], [scores[index] for index in first]
    lines += tabulate(
        f"One pair a prompt ({len(first)} pairs), so that no answer stands in another",
        *alone,
        np.ones(len(first), bool),
    )
    publish([*lines, *read_notes()], options.markdown)


def publish(lines: Sequence[str], markdown: Path | None) -> None:
    """Print `lines`, and write them to the page of results: the policies' table below what is there, all else above it."""
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if markdown is None:
        return
    before, title, policies = (markdown.read_text(encoding="utf-8") if markdown.exists() else "").partition(POLICIES)
    text = f"{before.rstrip()}\n\n{text}" if text.startswith(POLICIES) else f"{text}\n{title}{policies}"
    markdown.write_text(text.strip() + "\n", encoding="utf-8")


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / ".models" / "SmolLM2-135M-Instruct")
    parser.add_argument("--pairs", type=Path, default=ROOT.parent / "shared" / "data" / "alpaca_eval_pairs.jsonl")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--policies", metavar="SHARE", type=float, nargs="+", help="train a policy for each share")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    if not options.pairs.exists():
        sys.exit(f"{options.pairs} is not there: name a file of pairs (--pairs)")
    return options


def keep_one_a_prompt(pairs: Path, path: Path) -> Path:
    """Write the first pair of each prompt to `path`: a training on fewer pairs, and no answer stands in another pair."""
    first: dict[str, str] = {}
    for line in pairs.read_text(encoding="utf-8").splitlines(keepends=True):
        first.setdefault(json.loads(line)["prompt"], line)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(first.values()), encoding="utf-8")
    return path


def make_spec(options: argparse.Namespace) -> JobSpec:
    """Make the spec whose pairs are examined."""
    data = {"path": str(options.pairs), "max_length": options.max_length, "validation": 0.0}
    return JobSpec.model_validate(
        {"name": "xray", "model": str(options.model), "data": data, "loss": {"name": "sigmoid"}}
    )


def read_scores(
    job: SpecifiedJob, options: argparse.Namespace
) -> tuple[list[Example], list[tuple[Scores, Scores]], float]:
    """Read the pairs that the reference has scored both answers of, and time the whole examination of them."""
    if options.home is None:
        score(job)
    began = time.perf_counter()
    examine(job.home, XRayInput(spec=job.spec))
    seconds = time.perf_counter() - began
    store = job.cache.reference(job.fingerprint)
    scores = [
        (example, (store.find([job.key(example.chosen)])[0], store.find([job.key(example.rejected)])[0]))
        for example in job.data.train
    ]
    whole = [(example, pair) for example, pair in scores if pair[0] is not None and pair[1] is not None]
    return [example for example, _ in whole], [pair for _, pair in whole], seconds


def score(job: SpecifiedJob) -> None:
    """Have the reference score every answer, as a job that only fills the cache does."""
    import threading

    from prefd.daemon.machine.files import write_json
    from prefd.daemon.worker.job import RunningJob
    from prefd.daemon.worker.phases import plan_and_precompute

    job.home.create()
    folder = job.home.job(1)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "spec.json", job.spec.model_dump(mode="json", exclude_unset=True))
    plan_and_precompute(RunningJob.load(job.home, 1), threading.Event())


def describe(
    options: argparse.Namespace, job: SpecifiedJob, features: PairFeatures, alike: Bools, seconds: float
) -> str:
    """Say what was measured."""
    total, longer = len(job.data.train), (features.length_ratio > 0).mean()
    reference = (features.margin > 0).mean()
    mean = (features.mean_margin > 0).mean()
    return (
        f"{options.model.name}, {len(features.examples)} of the {total} pairs of {options.pairs.name} cut at {options.max_length} tokens "
        f"(those with both answers scored). The longer answer wins {longer:.1%}; the reference finds the chosen answer likelier "
        f"in {reference:.1%} by sum and {mean:.1%} per token; {int(alike.sum())} pairs have answers of like length. "
        f"`prefd xray` on all {total} pairs, reading and tokenizing them too, after the reference pass: {seconds:.1f} s.\n"
    )


def tabulate(
    title: str, examples: Sequence[Example], scores: Sequence[tuple[Scores, Scores]], part: Bools
) -> list[str]:
    """Tabulate, for each share of turned labels, the precision of each ranking among the turned pairs of `part`."""
    rows: dict[str, list[str]] = {}
    for share in SHARES:
        columns: dict[str, list[tuple[float, float]]] = {}
        for draw in range(DRAWS):
            turned = draw_turned(part, share, draw)
            for name, doubt in rank(*turn(examples, scores, turned)).items():
                columns.setdefault(name, []).append(
                    (count_first(doubt, turned, part), measure_auc(doubt, turned, part))
                )
        for name, values in columns.items():
            precision, auc = np.mean(values, axis=0)
            rows.setdefault(name, []).append(f"{precision:.2f} ({auc:.2f})")
    head = " | ".join(f"{share:.0%} turned" for share in SHARES)
    lines = [
        f"## {title}",
        "",
        "Precision = recall among the first k of k turned labels, and the area under the curve:",
        "",
    ]
    lines += [f"| ranked by | {head} |", "|---|" + "---|" * len(SHARES)]
    lines += [f"| chance | {' | '.join(f'{share:.2f} (0.50)' for share in SHARES)} |"]
    return [*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()), ""]


def compare_policies(options: argparse.Namespace, job: SpecifiedJob) -> list[str]:
    """Compare, for each share of turned labels, what is ranked first with what a policy trained on them ranks first."""
    score(job)
    examples, scores, seconds = read_scores(job, options)
    everything = np.ones(len(examples), bool)
    rows = [example.row for example in examples]
    columns: dict[str, list[str]] = {}
    rankings: list[TrainedRanking] = []
    for number, share in enumerate(options.policies, 2):
        turned = draw_turned(everything, share, 0)
        turned_rows = frozenset(row for row, is_turned in zip(rows, turned, strict=True) if is_turned)
        trained = rank_by_policy(job.home, number, job.spec, options.pairs, turned_rows, rows)
        rankings.append(trained)
        doubts = {**rank(*turn(examples, scores, turned)), "**a trained policy's margin**": -trained.margins}
        for name, doubt in doubts.items():
            cell = f"{count_first(doubt, turned, everything):.2f} ({measure_auc(doubt, turned, everything):.2f})"
            columns.setdefault(name, []).append(cell)
    head = " | ".join(f"{share:.0%} turned" for share in options.policies)
    learning = f"{TRAINING['epochs']} epoch of steps of {TRAINING['batch_size']} pairs at {TRAINING['learning_rate']:g}"
    minutes = [f"{(each.train_seconds + each.pairs_seconds) / 60:.0f}" for each in rankings]
    return [
        POLICIES,
        "",
        (
            f"One pair a prompt, {len(examples)} pairs cut at {options.max_length} tokens, one draw of each share. For each a policy was trained (`sigmoid`, LoRA of "
            f"rank 8 on the last {TRAINING['num_layers']} layers, {learning}) on the pairs with the turned labels, and `prefd pairs` gave its "
            f"margins: {', '.join(minutes)} minutes of this machine, beside {seconds:.1f} s of `prefd xray`. The reference scored "
            f"{sum(each.scored for each in rankings)} completions for them. The policies agree with "
            f"{', '.join(f'{each.accuracy:.0%}' for each in rankings)} of the labels that they were trained on."
        ),
        "",
        "Precision = recall among the first k of k turned labels, and the area under the curve:",
        "",
        f"| ranked by | {head} |",
        "|---|" + "---|" * len(options.policies),
        f"| chance | {' | '.join(f'{share:.2f} (0.50)' for share in options.policies)} |",
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in columns.items()),
        "",
        (
            "After one epoch the policy has learnt the turned labels too, so its margins are nearly all above 0, and what is turned is only "
            "somewhat lower: it saw each label, where the suspects are judged by pairs of other prompts. A policy trained on four fifths of "
            "the pairs and asked of the last would be fairer, at five trainings. Cut short, lengths say less than above, and the "
            "reference's scores help the suspects most."
        ),
    ]


def draw_turned(part: Bools, share: float, draw: int) -> Bools:
    """Draw which pairs are turned round, among those of `part`."""
    places = np.flatnonzero(part)
    turned = np.zeros(len(part), bool)
    turned[np.random.default_rng([draw, len(places)]).choice(places, max(1, round(share * len(places))), False)] = True
    return turned


def turn(
    examples: Sequence[Example], scores: Sequence[tuple[Scores, Scores]], turned: Bools
) -> tuple[list[Example], list[tuple[Scores, Scores]]]:
    """Turn the labels of some pairs round."""
    return (
        [
            replace(each, chosen=each.rejected, rejected=each.chosen) if is_turned else each
            for each, is_turned in zip(examples, turned, strict=True)
        ],
        [pair[::-1] if is_turned else pair for pair, is_turned in zip(scores, turned, strict=True)],
    )


def rank(examples: Sequence[Example], scores: Sequence[tuple[Scores, Scores]]) -> Mapping[str, Floats]:
    """Compute how much each pair is doubted, by each ranking; the largest comes first."""
    pairs = PairFeatures.measure(examples, scores)
    predictions = predict_labels(pairs)
    without = predict_labels(PairFeatures(examples, np.full_like(pairs.sums, np.nan)))
    assert predictions is not None
    assert without is not None
    return {
        "**suspects**": -predictions.logits,
        "suspects, without the reference's scores": -without.logits,
        "against-reference (margin among neighbours in length)": -rank_margins(pairs).deviation,
        "the reference's margin, sum": -pairs.margin,
        "the reference's margin, mean per token": -pairs.mean_margin,
        "the chosen answer is the shorter": -pairs.length_ratio,
        "the answers' other pairs": -pairs.count_other_wins(),
    }


def count_first(doubt: Floats, turned: Bools, part: Bools) -> float:
    """Count the share of turned pairs among the first of `part`, as many as there are turned ones."""
    places = np.flatnonzero(part)
    first = places[np.argsort(-doubt[places], kind="stable")[: turned.sum()]]
    return float(turned[first].mean())


def measure_auc(doubt: Floats, turned: Bools, part: Bools) -> float:
    """Measure how often a turned pair is doubted more than another; ties count half."""
    bad, good = doubt[turned], doubt[part & ~turned]
    above = (bad[:, None] > good[None]).mean() + 0.5 * (bad[:, None] == good[None]).mean()
    return float(above)


def read_notes() -> list[str]:
    """Say what the table shows and what it does not."""
    text = (
        "GPT-4's answers are nearly always the chosen and the longer ones here, so doubting each shorter chosen answer already "
        "finds most of what was turned: with one pair a prompt the suspects are hardly better, where lengths are alike they are. "
        "The reference's own margin is no detector of turned labels, by sum, per token or among neighbours in length: this "
        "small model finds the rejected answers of small models likelier, so its disagreement marks pairs that are right. "
        "`against-reference` is a list to learn the data from. With labels that follow nothing that is measured, suspects are at "
        "chance, and `prefd xray` says so."
    )
    return [text]


if __name__ == "__main__":
    main()
