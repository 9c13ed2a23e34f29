"""What can happen to a daemon, done to one: it and its workers killed at random while specs arrive in every way.

    python tests/faults_daemon.py kills|burst FOLDER COUNT SEED

prints a JSON object: `counts`, and `seen`, what each kill hit. `kills`: the daemon is `prefd start`, its workers train a
tiny model, and every job must end with the adapter and the losses of a twin that nothing happened to. `burst`: COUNT
kills while files arrive 20 times as many as kills, with stand-in workers. `test_faults_daemon.py` runs a bounded share
of both, `benchmarks/faults_daemon.py` all.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # several jobs run side by side, and a twin's sums must be in the same order

from faults_training import COMMON, SETTINGS, adapter_digest, in_child, losses  # first: it loads the BLAS
from faults_training import Worker as TwinsWorker

# isort: split
import fakes
from besieged import Besieged, Counts, workers
from conftest import PAIRS
from dropping import ONE_BY_ONE, Drop
from jobs_on_disk import make_job
from tiny import build_llama

from prefd.daemon.home import Home
from prefd.daemon.inbox import ULID_LENGTH
from prefd.daemon.jobs import JobTable
from prefd.daemon.rundir import Phase, RunDir
from prefd.daemon.worker.job import Job

Found = dict[str, Counts]

KILLS_PER_SPEC = 12.5
FILES_PER_KILL = 20
AIM_SECONDS = 8.0
SERVE = (
    "import json, sys; from pathlib import Path; from prefd.daemon.home import Home; from prefd.daemon import service\n"
    "service.serve(Home(Path(sys.argv[1])), json.loads(sys.argv[2]))"
)
VARIETY: list[dict[str, Any]] = [
    {},
    {"loss": {"name": "ipo"}},
    {"loss": {"name": "cpo", "beta": 0.05}},
    {"output": {"fuse": True}},
]


def run(fault: str, folder: Path, count: int, seed: int = 0) -> Found:
    """What one fault came to, from a process of its own."""
    command = [sys.executable, __file__, fault, str(folder), str(count), str(seed)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: Found = json.loads(done.stdout)
    return found


# --- the daemon and its workers killed while they train


def kills(folder: Path, count: int, seed: int) -> Found:
    """`count` kills; specs arrive while there are kills left, so that there is always something to hit."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    in_child(build_llama, folder / "model")
    home = Home(folder / "home")
    command = [sys.executable, "-P", "-m", "prefd.daemon.cli", "--home", str(home.root), "start"]
    left = [count]
    besieged = Besieged(home, command, real_drops(folder, rng, left))
    besieged.begin()
    try:
        while left[0] > 0:
            besieged.tend_until(rng.choice(AIMS)(besieged, rng), AIM_SECONDS)
            besieged.strike(rng)
            left[0] -= 1
            say(count - left[0], count)
        besieged.finish()
    finally:
        besieged.close()
    counts = {"kills": count, "specs": len(besieged.dropped)} | besieged.counts
    counts |= compare_with_twins(folder, home, besieged.dropped) | verify_cache(home)
    return {"counts": counts, "seen": dict(besieged.seen)}


def real_drops(folder: Path, rng: random.Random, left: list[int]) -> Iterator[Drop]:
    """Jobs that all differ; as many as go with the kills at first, and then more for as long as kills are left."""
    planned = max(1, round(left[0] / KILLS_PER_SPEC))
    recipes = list(SETTINGS.values())
    first = rng.randrange(1000)
    for number in itertools.count():
        if number >= planned and left[0] <= 0:
            return
        at = first + number
        pairs = folder / f"pairs-{number}.jsonl"
        pairs.write_text("".join(json.dumps(pair) + "\n" for pair in pairs_of(at)), encoding="utf-8")
        way = ONE_BY_ONE[at % len(ONE_BY_ONE)]
        document = {
            "name": f"job {number}",
            "model": str(folder / "model"),
            "data": {"path": str(pairs), "validation": 0.1},
            "training": COMMON | recipes[at % len(recipes)] | {"seed": at},
        }
        suffix = "json" if way == "prefd submit" else "yaml"
        yield Drop(f"{number:03}.{suffix}", document | VARIETY[at // len(recipes) % len(VARIETY)], way)


def pairs_of(number: int, times: int = 8) -> list[dict[str, str]]:
    """Pairs of which no other job has any: there is always something to score."""
    return [pair | {"prompt": f"{number}.{again} {pair['prompt']}"} for again in range(times) for pair in PAIRS]


Aim = Callable[[Besieged, random.Random], Callable[[], bool]]
"""What to wait for before the kill, so that the kills hit everything that happens and not only what takes long."""


def any_moment(_: Besieged, rng: random.Random) -> Callable[[], bool]:
    at = time.monotonic() + rng.uniform(0, 3)
    return lambda: time.monotonic() >= at


def right_after_the_start(_: Besieged, rng: random.Random) -> Callable[[], bool]:
    at = time.monotonic() + rng.uniform(0, 0.6)
    return lambda: time.monotonic() >= at


def a_claim(besieged: Besieged, _: random.Random) -> Callable[[], bool]:
    known = set(os.listdir(besieged.home.accepted))
    return lambda: set(os.listdir(besieged.home.accepted)) != known


def a_worker(besieged: Besieged, rng: random.Random) -> Callable[[], bool]:
    """One that has just been started: it takes a second until it does anything."""
    known = {worker.pid for worker in workers(besieged.home)}
    return lambda: bool({worker.pid for worker in workers(besieged.home)} - known)


def scoring(besieged: Besieged, _: random.Random) -> Callable[[], bool]:
    return lambda: any(phase == "precompute" for phase, _ in map(place, besieged.runs()))


def training(besieged: Besieged, rng: random.Random) -> Callable[[], bool]:
    step = rng.randrange(COMMON["iters"])
    return lambda: any(phase == "training" and done >= step for phase, done in map(place, besieged.runs()))


def place(run: RunDir) -> tuple[str, int]:
    progress = run.progress()
    return ("", 0) if progress is None else (progress.phase, progress.done)


def a_checkpoint(besieged: Besieged, _: random.Random) -> Callable[[], bool]:
    return lambda: any(next(run.checkpoints.glob(".step-*"), None) for run in besieged.runs())


def the_output(besieged: Besieged, _: random.Random) -> Callable[[], bool]:
    return lambda: any(
        run.adapter.exists() or next(run.root.glob(".*.partial"), None) is not None for run in besieged.runs()
    )


def an_outcome(besieged: Besieged, _: random.Random) -> Callable[[], bool]:
    """A phase has ended, and its daemon is about to write that down."""

    def ended() -> bool:
        for job in besieged.running():
            phase = "precompute" if job.state == "precomputing" else "training"
            if (besieged.home.job(job.id) / f"{phase}.json").exists():
                return True
        return False

    return ended


AIMS: tuple[Aim, ...] = (
    any_moment,
    any_moment,
    right_after_the_start,
    a_claim,
    a_worker,
    scoring,
    training,
    training,
    a_checkpoint,
    the_output,
    an_outcome,
)


def compare_with_twins(folder: Path, home: Home, dropped: list[Drop]) -> Counts:
    """Each job's adapter and losses beside those of the same spec, run with nobody killed and a cache of its own."""
    counts = {"another adapter": 0, "other losses": 0}
    with JobTable.open_readonly(home.database) as table:
        jobs = {job.source[ULID_LENGTH + 1 :]: job for job in table.list("done")}
    for number, drop in enumerate(dropped, start=1):
        twin = make_job(folder / "twins", number, **drop.document)
        phases: list[Phase] = ["precompute", "training"]
        assert [TwinsWorker(phase, twin, 0).wait() for phase in phases] == [0, 0]
        job = Job.load(home, jobs[drop.file].id) if drop.file in jobs else None
        counts["another adapter"] += job is None or adapter_digest(job) != adapter_digest(twin)
        counts["other losses"] += job is None or losses(job) != losses(twin)
    return counts


def verify_cache(home: Home) -> Counts:
    command = [sys.executable, "-P", "-m", "prefd.daemon.cli", "--home", str(home.root), "cache", "verify", "--deep"]
    return {"cache damaged": subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode}


# --- a burst of files


def burst(folder: Path, count: int, seed: int) -> Found:
    """`count` kills while 20 times as many files are written at once, and some in every other way."""
    rng = random.Random(seed)
    home = Home(folder / "home")
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", SERVE, str(home.root), json.dumps(fakes.make_worker(folder))]
    besieged = Besieged(home, command, iter(()))
    besieged.begin()
    half = FILES_PER_KILL * count // 2
    try:
        besieged.drop(*(stand_in(folder, number, "burst") for number in range(half)))
        besieged.drop(*(stand_in(folder, 100_000 + at, way) for at, way in enumerate(ONE_BY_ONE * 5)))
        for at in range(count):
            if at == count // 2:
                besieged.drop(*(stand_in(folder, number, "burst") for number in range(half, 2 * half)))
            moment = rng.choice(BURST_AIMS)(besieged, rng)
            besieged.tend_until(moment, AIM_SECONDS)
            besieged.strike(rng)
            say(at + 1, count)
        besieged.finish()
    finally:
        besieged.close()
    counts = {"kills": count, "specs": len(besieged.dropped)} | besieged.counts
    return {"counts": counts, "seen": dict(besieged.seen)}


def stand_in(folder: Path, number: int, way: str) -> Drop:
    """A job of the stand-in worker, one phase or two; each fiftieth file is no spec."""
    document = json.loads(fakes.spec_text(folder, f"ok {number}", training={"iters": 2, "seed": number}))
    if number % 2:
        document["loss"] = {"name": "cpo"}
    good = number % 50 != 49
    if not good:
        document["training"]["sed"] = 1
    suffix = "json" if way == "prefd submit" else "yaml"
    return Drop(f"{number:06}.{suffix}", document, way, good)


def soon(_: Besieged, rng: random.Random) -> Callable[[], bool]:
    at = time.monotonic() + rng.uniform(0, 1.5)
    return lambda: time.monotonic() >= at


BURST_AIMS: tuple[Aim, ...] = (soon, soon, right_after_the_start, a_claim, a_worker, an_outcome)


def say(done: int, count: int) -> None:
    if done % 10 == 0 or done == count:
        print(f"  {done} of {count} kills", file=sys.stderr, flush=True)


FAULTS = {"kills": kills, "burst": burst}


def main() -> None:
    fault, folder, count, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(FAULTS[fault](folder, count, seed)))


if __name__ == "__main__":
    main()
