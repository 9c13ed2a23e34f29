"""Trains a policy on pairs of which some labels are turned, and ranks the pairs by its implicit reward: the margin that `prefd pairs` shows.

It is what confident people do with a trained policy, and what `prefd xray` is compared with: a whole training against seconds.
A home that is kept keeps what was trained, so that a run that was broken off goes on where it was.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import write_json
from prefd.daemon.runs.pair_files import PairFiles
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.pair_scoring import score_pairs
from prefd.daemon.worker.phases import plan_and_precompute
from prefd.daemon.worker.training.train import train
from prefd.daemon.worker_tasks.inputs import PairScoringInput

TRAINING = {
    "epochs": 1,
    "batch_size": 4,
    "learning_rate": 1e-4,
    "num_layers": 8,
    "lora": {"rank": 8},
    "steps_per_eval": 10**6,
    "save_every": 20,
}


@dataclass(frozen=True)
class TrainedRanking:
    """The margins of each pair under the policy that was trained on all of them, and what they cost."""

    margins: npt.NDArray[np.float64]
    accuracy: float
    """The share of the pairs, as they were labelled, with a margin above 0."""
    scored: int
    """Completions that the reference scored for this training: none, for a turned pair has the same answers."""
    train_seconds: float
    pairs_seconds: float


def rank_by_policy(
    home: Home, number: int, spec: JobSpec, pairs: Path, turned_rows: frozenset[int], rows: list[int]
) -> TrainedRanking:
    """Train job `number` on `pairs` with the labels of `turned_rows` (counted from 1) turned, and read the margins of `rows`."""
    folder = home.job(number)
    folder.mkdir(parents=True, exist_ok=True)
    turned = write_turned(pairs, folder / "turned.jsonl", turned_rows)
    document = spec.model_dump(mode="json", exclude_unset=True)
    document |= {"training": TRAINING, "name": f"turned-{number}"}
    document["data"] = document["data"] | {"path": str(turned)}
    write_json(folder / "spec.json", JobSpec.model_validate(document).model_dump(mode="json", exclude_unset=True))
    costs = folder / "costs.json"
    if PairFiles(RunningJob.load(home, number).run).read_head() is None:
        job = RunningJob.load(home, number)
        scored = plan_and_precompute(job, threading.Event()).summary.scored
        began = time.perf_counter()
        print(f"training on {len(turned_rows)} turned labels", file=sys.stderr)
        job.run.write_outcome("training", train(job, threading.Event()))
        trained = time.perf_counter()
        score_pairs(home, PairScoringInput(job=number))
        write_json(costs, [scored, trained - began, time.perf_counter() - trained])
    scored, train_seconds, pairs_seconds = json.loads(costs.read_text(encoding="utf-8"))
    table = pq.read_table(PairFiles(RunningJob.load(home, number).run).table, columns=["row", "margin"]).to_pydict()
    margin = dict(zip(table["row"], table["margin"], strict=True))
    margins = np.array([margin[row] for row in rows])
    return TrainedRanking(margins, float((margins > 0).mean()), scored, train_seconds, pairs_seconds)


def write_turned(pairs: Path, path: Path, turned_rows: frozenset[int]) -> Path:
    """Write the rows of `pairs` to `path`, those of `turned_rows` with their sides swapped."""
    lines = []
    for number, line in enumerate(pairs.read_text(encoding="utf-8").splitlines(), 1):
        row = json.loads(line)
        if number in turned_rows:
            row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path
