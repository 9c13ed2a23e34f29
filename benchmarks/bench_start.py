"""How long a cached job takes to its first step, beside the import of the model library, and what the quickest commands cost.

    make bench-start    or: python benchmarks/bench_start.py [--repeats 11] [--markdown start.md]

A tiny model, eight pairs that the cache has already, one step. In each repeat, in turns: `python -c "import mlx_lm"`, a process from
its start to its end; a spec renamed into `jobs/` of a daemon that idles, until the first step's line in metrics.jsonl, less the settle
time; and `prefd run` of the same spec, from the start of its process until that line. The ratios are medians of the repeats' own.
The commands' numbers are of their processes' CPU time.
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
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from daemons import PREFD, SETTLE_MS, Row, daemon, list_rows, tell

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.plugins.metrics import TIME
from support import fake_worker
from support.programs import program_environment

IMPORT = (sys.executable, "-c", "import mlx_lm")
SCRIPT = str(Path(sys.executable).with_name("prefd"))
"""What a user types; `python -m` would compile its first module each time."""
GOAL = 1.5
COMMAND_GOAL_MS = 150.0
COMMANDS: tuple[tuple[str, ...], ...] = (("--help",), ("jobs",))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prefd-bench-") as folder:
        rows = list(measure_starts(Path(folder), options.repeats))
    about = (
        f"On {platform.system()} {platform.machine()}, {os.cpu_count()} cores, medians of {options.repeats} repeats."
    )
    lines = [about, "", *list_rows(rows)]
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure_starts(folder: Path, repeats: int) -> Iterator[Row]:
    """The rows of the commands, and of the ways to a first step beside the import."""
    home = Home(folder / "home")
    spec = write_job(folder)
    tell("filling the cache")
    run_prefd(home, "run", str(spec))
    for command in COMMANDS:
        costs = sorted(measure_cpu(home, *command) for _ in range(repeats))
        value = f"{median(costs):.0f} ms of CPU, at most {costs[-1]:.0f}"
        yield f"`prefd {' '.join(command)}`", value, f"< {COMMAND_GOAL_MS:.0f} ms", median(costs) < COMMAND_GOAL_MS
    ways: dict[str, Callable[[], float]] = {
        "drop": lambda: drop(home, spec),
        "run": lambda: measure_first_step(home, lambda: run_prefd(home, "run", str(spec))),
    }
    imports: list[float] = []
    times: dict[str, list[float]] = {way: [] for way in ways}
    with daemon(home):
        for repeat in range(repeats + 1):
            tell(f"repeat {repeat} of {repeats}, from drop to first step, prefd run, and the import")
            round_imports = measure_import()
            round_times = {way: measure() for way, measure in (ways.items() if repeat % 2 else reversed(ways.items()))}
            if repeat:  # the first is there to warm up
                imports.append((round_imports + measure_import()) / 2)
                for way, seconds in round_times.items():
                    times[way].append(seconds)
    yield f'`{" ".join(("python", *IMPORT[1:2]))} "{IMPORT[2]}"`', f"{1000 * median(imports):.0f} ms", "", True
    for way, title in (
        ("drop", f"from drop to the first step, less the settle time of {SETTLE_MS:.0f} ms"),
        ("run", "`prefd run` of a cached job, to the first step"),
    ):
        ratio = median(seconds / each for seconds, each in zip(times[way], imports, strict=True))
        value = f"{1000 * median(times[way]):.0f} ms, {ratio:.2f} of the import"
        yield title, value, f"<= {GOAL}", ratio <= GOAL


def write_job(folder: Path) -> Path:
    """The spec of one step over a tiny model, with its data beside it."""
    build = "import sys; from pathlib import Path; from support.tiny_model import build_llama; build_llama(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(folder / "tiny")], check=True, env=program_environment())
    pairs = [{"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": "Who knows?"} for n in range(8)]
    data = folder / "pairs.jsonl"
    data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    spec = {
        "name": "one-step",
        "model": str(folder / "tiny"),
        "data": {"path": str(data), "validation": 0.0},
        "training": {"iters": 1, "batch_size": 4},
    }
    path = folder / "one-step.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    return path


def measure_cpu(home: Home, *command: str) -> float:
    """Milliseconds of CPU time that a command takes, as a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([SCRIPT, "--home", str(home.root), *command], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def run_prefd(home: Home, *command: str) -> None:
    subprocess.run([*PREFD, "--home", str(home.root), *command], check=True, stdout=subprocess.DEVNULL)


def measure_import() -> float:
    """Seconds of a process that imports the model library."""
    began = time.time()
    subprocess.run(IMPORT, check=True)
    return time.time() - began


def drop(home: Home, spec: Path) -> float:
    """Seconds from a dropped spec to its job's first step, less the settle time."""
    beside = home.root / "beside"
    beside.write_bytes(spec.read_bytes())
    return measure_first_step(home, lambda: beside.rename(home.jobs / spec.name)) - SETTLE_MS / 1000


def measure_first_step(home: Home, begin: Callable[[], object]) -> float:
    """Seconds from before `begin` until the first step of the job that it makes; returns once that has ended."""
    with JobTable.open_readonly(home.database) as table:
        count = table.counts()["done"]
        began = time.time()
        begin()
        fake_worker.wait_for(lambda: table.counts()["done"] > count)
        newest = table.list("done")[-1]
    line = json.loads((home.job(newest.id) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    seconds: float = line[TIME] - began
    time.sleep(0.5)  # for what comes after the job
    return seconds


if __name__ == "__main__":
    main()
