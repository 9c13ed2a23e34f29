"""A sweep of the eight losses over the same pairs: prefd's jobs, one after the other in one home, against as many runs of
mlx-lm-lora, each of which loads two models where there is a reference and runs both in every step.

    python benchmarks/bench_sweep.py [--pairs 100] [--max-length 128] [--all] [--markdown results.md]

Whole commands are timed, loading and all. The losses of a kind (with a reference, or without) do the same work, so by
default prefd's first job, which scores the reference, and one job more of each kind are run, and one run of each kind of
mlx-lm-lora; the others are counted as these. `--all` runs all sixteen.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from bench_train import PEERS, add_options, prepare

from prefd.daemon.home.layout import Home
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.worker.job import RunningJob

WITH_REFERENCE = ("sigmoid", "hinge", "ipo", "dpop")
WITHOUT = ("cpo", "cpo_hinge", "cpo_ipo", "cpo_dpop")


def main() -> None:
    options = arguments()
    if options.child:
        sys.path.insert(0, str(PEERS))
        from peer_mlx_lm_lora import train

        job = RunningJob.load(Home(options.home), 1)
        train(job, list(job.examples), options.child)
        return
    with tempfile.TemporaryDirectory(prefix="prefd-bench-") as folder:
        home, setting = Home(Path(folder) / "home"), Home(Path(folder) / "setting")
        prepare(options, setting)
        spec = json.loads((setting.job(1) / "spec.json").read_text(encoding="utf-8"))
        first, *rest = WITH_REFERENCE if options.all else WITH_REFERENCE[:2]
        ours = {loss: run_job(home, spec, loss) for loss in (first, *rest, *(WITHOUT if options.all else WITHOUT[:1]))}
        forwards = [scored(home, number) for number in (1, 2)]
        theirs = {
            loss: timed([sys.executable, __file__, "--child", loss, "--home", str(setting.root)], loss)
            for loss in ((*WITH_REFERENCE, *WITHOUT) if options.all else (first, WITHOUT[0]))
        }
        usable = len(RunningJob.load(setting, 1).examples)
    lines = report(options, usable, ours, theirs, forwards)
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, pairs=100, max_length=128)
    parser.add_argument("--all", action="store_true", help="run every loss, not one of each kind")
    parser.add_argument("--child", choices=[*WITH_REFERENCE, *WITHOUT], help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def run_job(home: Home, spec: dict[str, object], loss: str) -> float:
    """Seconds that `prefd run` takes."""
    home.create()
    path = home.root / f"{loss}.json"
    path.write_text(json.dumps(spec | {"loss": {"name": loss}}), encoding="utf-8")
    return timed(
        [sys.executable, "-m", "prefd.daemon.cli", "--home", str(home.root), "run", str(path)], f"prefd, {loss}"
    )


def timed(command: Sequence[str], what: str) -> float:
    print(what, file=sys.stderr)
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=sys.stderr)
    return time.perf_counter() - began


def scored(home: Home, number: int) -> int:
    """Completions that a job ran its reference on."""
    outcome = RunDir(home.job(number)).outcome("precompute")
    assert outcome is not None
    return outcome.summary.scored


def report(
    options: argparse.Namespace, usable: int, ours: dict[str, float], theirs: dict[str, float], forwards: list[int]
) -> list[str]:
    first, *others = [ours[loss] for loss in WITH_REFERENCE if loss in ours]
    free = mean(ours[loss] for loss in WITHOUT if loss in ours)
    peer = mean(theirs[loss] for loss in WITH_REFERENCE if loss in theirs)
    peer_free = mean(theirs[loss] for loss in WITHOUT if loss in theirs)
    total, peer_total = first + 3 * mean(others) + 4 * free, 4 * peer + 4 * peer_free
    counted = (
        "all sixteen were run" if options.all else "five were run, the other eleven counted as those of their kind"
    )
    return [
        (
            f"{options.model.name}, {usable} pairs of {options.data.name} cut at {options.max_length} tokens, batch size "
            f"{options.batch_size}, one epoch, LoRA rank 8 on every layer; whole commands, {counted}; on "
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
        ),
        "",
        "| seconds | prefd | mlx-lm-lora 5.10.2 | ratio |",
        "|---|---|---|---|",
        f"| the first loss with a reference ({forwards[0]} completions scored) | {first:.0f} | {peer:.0f} | {peer / first:.2f} |",
        f"| each of the other three ({forwards[1]} scored) | {mean(others):.0f} | {peer:.0f} | {peer / mean(others):.2f} |",
        f"| each of the four without a reference | {free:.0f} | {peer_free:.0f} | {peer_free / free:.2f} |",
        f"| all eight | {total:.0f} | {peer_total:.0f} | {peer_total / total:.2f} |",
    ]


if __name__ == "__main__":
    main()
