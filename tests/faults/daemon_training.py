"""`prefd start` and its workers killed at random while they train a tiny model, and each job compared with a twin.

A twin is the same spec, run phase by phase with nobody killed and a cache of its own: adapter and losses must be its.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # several jobs run side by side, and a twin's sums must be in the same order

from faults.training import COMMON, SETTINGS, adapter_digest, in_child, losses  # first: it loads the BLAS
from faults.training import Worker as TwinsWorker

# isort: split
from prefd.daemon.home.layout import Home
from prefd.daemon.inbox.claim_marks import ULID_LENGTH
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.runs.phases import Phase
from prefd.daemon.worker.job import RunningJob
from support.dropping_specs import ONE_BY_ONE, Drop
from support.fault_outcomes import AIM_SECONDS, WHILE_TRAINING
from support.jobs_on_disk import make_job
from support.random_operations import Besieged, Counts, Found
from support.sample_pairs import PAIRS
from support.tiny_model import build_llama

KILLS_PER_SPEC = 12.5
VARIETY: list[dict[str, Any]] = [
    {},
    {"loss": {"name": "ipo"}},
    {"loss": {"name": "cpo", "beta": 0.05}},
    {"output": {"fuse": True}},
]


def kills(folder: Path, count: int, seed: int) -> Found:
    """`count` kills; specs arrive while there are kills left, so that there is always something to hit."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    in_child(build_llama, folder / "model")
    home = Home(folder / "home")
    command = [sys.executable, "-P", "-m", "prefd.daemon.cli", "--home", str(home.root), "start"]
    left = [count]
    besieged = Besieged(
        home, command, real_drops(folder, rng, left), parallel=1 + seed % 2, at_once=2 if count > 10 else 1
    )
    besieged.begin()
    try:
        while left[0] > 0:
            besieged.tend_until(rng.choice(WHILE_TRAINING)(besieged, rng), AIM_SECONDS)
            if besieged.strike(rng):
                left[0] -= 1
                besieged.say(count)
        besieged.finish()
    finally:
        besieged.close()
    counts = {"kills": count, "specs": len(besieged.dropped)} | besieged.counts
    counts |= compare_with_twins(folder, home, besieged.dropped) | verify_cache(home)
    return {"counts": counts, "seen": dict(besieged.seen)}


def real_drops(folder: Path, rng: random.Random, left: list[int]) -> Iterator[Drop]:
    """Jobs that all differ; as many as go with the kills at first, and then more for as long as kills are left."""
    planned = max(1, round(left[0] / KILLS_PER_SPEC))
    longer = 2 if left[0] > 10 else 1
    recipes = list(SETTINGS.values())
    first = rng.randrange(1000)
    for number in itertools.count():
        if number >= planned and left[0] <= 0:
            return
        job_number = first + number
        pairs = folder / f"pairs-{number}.jsonl"
        pairs.write_text("".join(json.dumps(pair) + "\n" for pair in pairs_of(job_number)), encoding="utf-8")
        way = ONE_BY_ONE[job_number % len(ONE_BY_ONE)]
        training = COMMON | recipes[job_number % len(recipes)]
        document = {
            "name": f"job {number}",
            "model": str(folder / "model"),
            "data": {"path": str(pairs), "validation": 0.1},
            "training": training | {"seed": job_number, "iters": longer * training["iters"]},
        }
        suffix = "json" if way == "prefd submit" else "yaml"
        yield Drop(f"{number:03}.{suffix}", document | VARIETY[job_number // len(recipes) % len(VARIETY)], way)


def pairs_of(number: int, times: int = 8) -> list[dict[str, str]]:
    """Pairs of which no other job has any: there is always something to score."""
    return [pair | {"prompt": f"{number}.{again} {pair['prompt']}"} for again in range(times) for pair in PAIRS]


def compare_with_twins(folder: Path, home: Home, dropped: list[Drop]) -> Counts:
    """Each job's adapter and losses beside those of the same spec, run with nobody killed and a cache of its own."""
    counts = {"another adapter": 0, "other losses": 0}
    with JobTable.open_readonly(home.database) as table:
        jobs = {job.source[ULID_LENGTH + 1 :]: job for job in table.list("done")}
    for number, drop in enumerate(dropped, start=1):
        twin = make_job(folder / "twins", number, **drop.document)
        phases: list[Phase] = ["precompute", "training"]
        assert [TwinsWorker(phase, twin, 0).wait() for phase in phases] == [0, 0]
        job = RunningJob.load(home, jobs[drop.file].id) if drop.file in jobs else None
        counts["another adapter"] += job is None or adapter_digest(job) != adapter_digest(twin)
        counts["other losses"] += job is None or losses(job) != losses(twin)
    return counts


def verify_cache(home: Home) -> Counts:
    command = [sys.executable, "-P", "-m", "prefd.daemon.cli", "--home", str(home.root), "cache", "verify", "--deep"]
    return {"cache damaged": subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode}
