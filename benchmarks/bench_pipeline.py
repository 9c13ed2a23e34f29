"""What a reference costs whose layers are spread over ranks: its time, the memory of each rank, and the bytes between them.

    python benchmarks/bench_pipeline.py [--pairs 12] [--ranks 1 2 3] [--markdown results.md]

Each row is a home of its own with a job of the real model that scores only, run by real workers of one thread each on this machine.
Seconds are of the passes alone; CPU seconds are those of the rank that has used most, its start and its part of the model's loading
included. On a machine with other work these are the ones to go by.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefd.daemon.machine import blas

blas.preload()

import numpy as np
from bench_ranks import Arm, run_phase
from bench_train import DATA, MODEL

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.cpus import usable_cpus
from prefd.daemon.machine.files import write_json
from prefd.daemon.runs.pipeline_summary import PipelineSummary
from prefd.daemon.worker.job import RunningJob

MB = 1e6
PAIRS = next(path for path in DATA if path.exists())


@dataclass
class Row:
    """Row is what one pass took and gave."""

    ranks: int
    wall: float
    cpu: float
    tokens: int
    scores: list[Any]
    pipeline: PipelineSummary | None


def measure(root: Path, ranks: int, pairs: int) -> Row:
    """Run a pass of so many ranks once; one rank has all layers."""
    home = Home(root)
    home.create()
    folder = home.job(1)
    folder.mkdir()
    data = root / "pairs.jsonl"
    data.write_text("".join(PAIRS.read_text().splitlines(keepends=True)[:pairs]))
    spec: dict[str, Any] = {"model": str(MODEL), "data": {"path": str(data), "max_length": 512, "validation": 0}}
    if ranks > 1:
        spec |= {"ranks": ranks, "reference": {"pipeline": True}}
    write_json(folder / "spec.json", spec)
    job = RunningJob.load(home, 1)
    cpu = run_phase(job.run, "precompute", Arm(f"{ranks} ranks", ranks, min(ranks, os.cpu_count() or 1)))
    outcome: Any = job.run.outcome("precompute")
    keys = [job.key(side) for each in job.examples for side in (each.chosen, each.rejected)]
    summary = outcome.summary
    return Row(
        ranks,
        summary.scoring_seconds,
        max(cpu[-1].values()),
        summary.tokens_run,
        list(job.store.get(keys)),
        summary.pipeline,
    )


def describe(rows: list[Row]) -> str:
    """Write the table."""
    lines = [
        "| ranks | scoring, s | CPU s of the busiest | layers | weights, MB | peak, MB | hidden states sent, MB | largest difference, nats |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        stages = row.pipeline.stages if row.pipeline else []
        cells = [
            str(row.ranks),
            f"{row.wall:.1f}",
            f"{row.cpu:.1f}",
            " / ".join(str(each.end - each.begin) for each in stages) or "all",
            " / ".join(f"{each.weights_bytes / MB:.0f}" for each in stages),
            " / ".join(f"{each.peak_bytes / MB:.0f}" for each in stages),
            " / ".join(f"{each.sent_bytes / MB:.1f}" for each in stages[1:]),
            f"{max(float(np.abs(a - b).max()) for a, b in zip(row.scores, rows[0].scores, strict=True)):.1e}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure each number of ranks, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    rows = []
    for ranks in options.ranks:
        with tempfile.TemporaryDirectory(prefix="prefd-bench-pipeline-") as folder:
            rows.append(measure(Path(folder) / "home", ranks, options.pairs))
        print(f"{ranks} ranks: {rows[-1].wall:.1f} s", file=sys.stderr)
    title = (
        f"SmolLM2-135M-Instruct, {options.pairs} pairs of {PAIRS.name}, {rows[0].tokens} tokens, on {platform.system()} "
        f"{platform.machine()}, {len(usable_cpus())} cores"
    )
    text = f"{title}\n\n{describe(rows)}\n"
    print(text)
    if options.markdown:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
