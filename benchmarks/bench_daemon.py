"""How quick and how small the daemon is: from a dropped file to its claim, the commands that ask it, and its idling.

    python benchmarks/bench_daemon.py [--drops 150] [--rounds 5] [--jobs 10000] [--idle 60] [--nice 0] [--markdown daemon.md]

The daemon is `prefd start` as a user starts it, on the default settings, with `--jobs` ended jobs in its history. Specs are
renamed into `jobs/`, 150 ms apart on average. A file counts as claimed at the moment of its rename into `accepted/`, which
the file system writes down, and as a job at its row's. Then the same while a job trains (a tiny model, without end). A
command's time is that of a new process, from its start to its end, on a warm page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import psutil
from bench_start import measure_starts
from daemons import PREFD, SETTLE_MS, Row, daemon, list_rows, tell

from prefd.daemon.control.client import Client
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.specs.job_spec import JobSpec
from support import fake_worker
from support.programs import program_environment

GAP_SECONDS = 0.15
COMMANDS = 15
MARGIN_MS = 100.0
SWEEP = 256
"""The jobs of the largest sweep."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drops", type=int, default=150, help="in a round")
    parser.add_argument("--rounds", type=int, default=5, help="of drops; medians over them are told, and the worst")
    parser.add_argument("--jobs", type=int, default=10_000, help="in the history")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds to look at the idle daemon")
    parser.add_argument("--starts", type=int, default=11, help="repeats of bench_start.py's rows, which stand last")
    parser.add_argument("--nice", type=int, default=0, help="of the worker, as `nice` under [worker] in config.toml")
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prefd-bench-") as folder:
        home = Home(Path(folder) / "home")
        make_history(home, options.jobs)
        home.config.write_text(f"[worker]\nnice = {options.nice}\n", encoding="utf-8")
        with daemon(home) as process:
            rows = list(measure(home, process, [options.drops] * options.rounds, options.jobs, options.idle))
        starts = Path(folder) / "starts"
        starts.mkdir()
        rows += measure_starts(starts, options.starts)
    about = f"On {platform.system()} {platform.machine()}, {os.cpu_count()} cores, {options.rounds} rounds of {options.drops} drops each;"
    lines = [
        f"{about} a settle time of {SETTLE_MS:.0f} ms is part of every claim.",
        "",
        *list_rows(rows),
    ]
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure(home: Home, process: psutil.Process, drops: Sequence[int], jobs: int, idle: float) -> Iterator[Row]:
    """Each row as it is found; what comes first disturbs nothing that comes after. `drops`: how many, in each round."""
    tell(f"idle for {idle:g} s")
    began, before = time.monotonic(), process.cpu_times()
    time.sleep(idle)
    after = process.cpu_times()
    share = (after.user + after.system - before.user - before.system) / (time.monotonic() - began)
    yield "idle: CPU", f"{share:.2%}", "< 1 %", share < 0.01
    yield memory("idle", process)
    Client(home).act_on_queue("pause")
    tell(f"{len(drops)} rounds of drops, idle")
    yield from latency("idle", home, drops)
    for command, goal in ((("status",), 300.0), (("jobs",), 500.0)):
        tell(f"prefd {command[0]}")
        times = [timed(home, *command) for _ in range(COMMANDS)]
        of = f" ({jobs:,} jobs in the history)" if command == ("jobs",) else ""
        value = f"{median(times):.0f} ms, at most {max(times):.0f}"
        yield f"`prefd {command[0]}`{of}", value, f"< {goal:.0f} ms", median(times) < goal
    yield from changes(home, jobs)
    tell("starting a training")
    start_training(home)
    tell(f"{len(drops)} rounds of drops, with a job that trains")
    yield from latency("a job trains", home, drops)
    yield memory("after it all", process)


def changes(home: Home, jobs: int) -> Iterator[Row]:
    """The commands that choose among all jobs, through the daemon: one job is removed, half of them may go, a sweep is cancelled."""
    goal, many = 500.0, f"{jobs:,} jobs in the history"
    commands: dict[str, Callable[[int], tuple[str, ...]]] = {
        f"`prefd rm ID` ({many})": lambda number: ("rm", str(number + 1)),
        f"`prefd clean --keep {jobs // 2} --dry-run` ({many})": lambda number: (
            "clean",
            "--keep",
            str(jobs // 2),
            "--dry-run",
        ),
        f"`prefd cancel --group NAME` ({SWEEP} jobs of {jobs:,})": lambda number: (
            "cancel",
            "--group",
            f"sweep-{number}",
        ),
    }
    spec = JobSpec.model_validate_json(fake_worker.spec_text(home.root.parent))
    for number in range(COMMANDS):
        sweep = [spec.model_copy(update={"group": f"sweep-{number}"})] * SWEEP
        with JobTable.open(home.database) as table:
            table.add_all(sweep, f"{'0' * 24}{number:02}-sweep.yaml")
    with JobTable.open_readonly(home.database) as table:
        fake_worker.wait_for(
            lambda: not table.unmeasured(), 120
        )  # the past jobs' folders, which no daemon has seen yet
    time.sleep(1)
    for what, command in commands.items():
        tell(what)
        times = [timed(home, *command(number)) for number in range(COMMANDS)]
        yield what, f"{median(times):.0f} ms, at most {max(times):.0f}", f"< {goal:.0f} ms", median(times) < goal


def memory(when: str, process: psutil.Process) -> Row:
    megabytes = process.memory_info().rss / 1e6
    return f"{when}: memory (RSS)", f"{megabytes:.0f} MB", "< 150 MB", megabytes < 150


def latency(when: str, home: Home, drops: Sequence[int]) -> Iterator[Row]:
    rounds = [drop(home, count, f"{when.split()[0]}-{number}") for number, count in enumerate(drops)]
    for what, times in zip(("claimed", "a job"), zip(*rounds, strict=True), strict=True):
        p99s = [sorted(each)[max(0, -(-99 * len(each) // 100) - 1)] for each in times]
        middle, p99, worst = median(map(median, times)), median(p99s), max(map(max, times))
        value = f"median {middle:.0f} ms, p99 {p99:.0f} ({min(p99s):.0f} to {max(p99s):.0f}), at most {worst:.0f}"
        goal = SETTLE_MS + MARGIN_MS
        yield f"{when}: from drop to {what}", value, f"p99 < {goal:.0f} ms" if what == "claimed" else "", p99 < goal


def drop(home: Home, count: int, prefix: str) -> tuple[list[float], list[float]]:
    """Milliseconds from each drop to its claim, and to its job's row."""
    dice = random.Random(0)
    beside = home.root / "beside"
    text = fake_worker.spec_text(home.root.parent, name="")
    dropped: dict[str, float] = {}
    for number in range(count):
        time.sleep(dice.uniform(0, 2 * GAP_SECONDS))
        beside.write_text(text, encoding="utf-8")
        name = f"{prefix}-{number}.yaml"
        beside.rename(home.jobs / name)
        dropped[name] = time.time()
    fake_worker.wait_for(lambda: not list(home.jobs.glob("*.yaml")), 30)
    time.sleep(0.5)
    claimed = {path.name[27:]: path.stat().st_ctime_ns / 1e9 for path in home.accepted.iterdir()}
    with JobTable.open_readonly(home.database) as table:
        created = {job.source[27:]: job.created_at for job in table.list("queued")}
    return (
        [1000 * (claimed[name] - drop_time) for name, drop_time in dropped.items()],
        [1000 * (created[name] - drop_time) for name, drop_time in dropped.items()],
    )


def timed(home: Home, *command: str) -> float:
    """Milliseconds that a command takes, as a process of its own."""
    began = time.perf_counter()
    subprocess.run([*PREFD, "--home", str(home.root), *command], check=True, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - began)


def start_training(home: Home) -> None:
    """A job that trains a tiny model and does not end; the queue is paused again once it does."""
    folder = home.root.parent
    build = "import sys; from pathlib import Path; from support.tiny_model import build_llama; build_llama(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(folder / "tiny")], check=True, env=program_environment())
    pairs = [
        {"prompt": f"What is {n}?", "chosen": f"It is {n}. " * 9, "rejected": "Who knows? " * 9} for n in range(64)
    ]
    data = folder / "training.jsonl"
    data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    spec = {
        "name": "endless",
        "priority": 1,
        "model": str(folder / "tiny"),
        "data": {"path": str(data), "validation": 0.0},
        "training": {"iters": 10**6, "batch_size": 8},
    }
    (folder / "endless").write_text(json.dumps(spec), encoding="utf-8")
    (folder / "endless").rename(home.jobs / "endless.json")
    client = Client(home)
    fake_worker.wait_for(lambda: any(path.name.endswith("endless.json") for path in home.accepted.iterdir()), 30)
    time.sleep(0.5)
    client.act_on_queue("resume")
    fake_worker.wait_for(lambda: [job.state for job in client.status().active] == ["training"], 120)
    client.act_on_queue("pause")
    fake_worker.wait_for(
        lambda: (progress := client.status().active[0].progress) is not None and progress.phase == "training", 60
    )


def make_history(home: Home, jobs: int) -> None:
    """A home with so many jobs that are done."""
    tell(f"{jobs} jobs of the past")
    home.create()
    spec = JobSpec.model_validate_json(fake_worker.spec_text(home.root.parent))
    with JobTable.open(home.database) as table:
        table.add_all([spec] * jobs, f"{'0' * 26}-past.yaml")
    with sqlite3.connect(home.database) as database:
        database.execute("UPDATE jobs SET state = 'done', started_at = created_at, finished_at = created_at + 60")
        database.execute("""UPDATE jobs SET phase_seconds = '{"precompute": 20.5, "training": 39.5}'""")
        database.execute(
            "INSERT INTO history (job_id, at, state, reason) SELECT id, created_at + 60, 'done', '' FROM jobs"
        )
    database.close()


if __name__ == "__main__":
    main()
