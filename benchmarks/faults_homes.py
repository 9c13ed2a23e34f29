"""Random sequences of copy, restore, move, kill and submit over three homes: no job is mixed up, stopped or repeated.

    python benchmarks/faults_homes.py [--sequences 200] [--real 5] [--side-by-side 2] [--markdown faults.md]

The sequences themselves are tests/faults/homes.py and real_homes.py. Each is in a folder of its own, and each few of them in a process of their own.
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
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS))

TITLES = {
    "stand-in": "20 random operations on three homes, stand-in workers that believe whatever their folder holds",
    "real": "the same with prefd's own workers on a tiny model; each adapter compared with its unbroken twin's",
}
IN_A_PROCESS = 10
Chunk = tuple[str, int, int]
"""The kind of worker, the first seed, and one behind the last."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=200, help=TITLES["stand-in"])
    parser.add_argument("--real", type=int, default=5, help=TITLES["real"])
    parser.add_argument("--seed", type=int, default=1, help="of the first sequence; each next one has the next")
    parser.add_argument("--side-by-side", type=int, default=2)
    parser.add_argument("--markdown", type=Path, help="write the tables here too")
    parser.add_argument("--chunk", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.chunk:
        run_chunk(options.chunk[0], int(options.chunk[1]), int(options.chunk[2]))
        return
    with ThreadPoolExecutor(options.side_by_side) as pool:
        results = [each for chunk in pool.map(run_apart, list_chunks(options)) for each in chunk]
    lines = make_tables(results, options)
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(any(each["wrong"] for each in results) or len(results) < options.sequences + options.real)


def list_chunks(options: argparse.Namespace) -> Iterator[Chunk]:
    """Share the sequences out: a process of its own for each few."""
    for kind, count, size in (("stand-in", options.sequences, IN_A_PROCESS), ("real", options.real, 1)):
        for first in range(options.seed, options.seed + count, size):
            yield kind, first, min(first + size, options.seed + count)


def run_apart(chunk: Chunk) -> list[dict[str, Any]]:
    """Run a chunk in a process that has no threads, for its daemons are forks of it; what each sequence came to."""
    command = [sys.executable, __file__, "--chunk", *map(str, chunk)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for each in results:
        print(f"{each['kind']}, seed {each['seed']}: {each['wrong'] or 'nothing wrong'}", file=sys.stderr)
        for line in each["story"]:
            print(f"    {line}", file=sys.stderr)
        sys.stderr.flush()
    return results


def run_chunk(kind: str, first: int, last: int) -> None:
    """Run some sequences here, and print what each came to."""
    from faults.home_judge import wrong
    from faults.homes import Sequence, run
    from faults.real_homes import RealSequence

    for seed in range(first, last):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="prefd-homes-", ignore_cleanup_errors=True) as folder:
            findings = run(Path(folder) / "run", seed, RealSequence if kind == "real" else Sequence)
        result = {
            "kind": kind,
            "seed": seed,
            "seconds": time.monotonic() - began,
            **findings,
            "wrong": wrong(findings["counts"]),
        }
        print(json.dumps(result), flush=True)


def make_tables(results: list[dict[str, Any]], options: argparse.Namespace) -> list[str]:
    """Put the counts into Markdown."""
    from faults.home_judge import MUST_BE_ZERO
    from support.commit import name_commit

    where = f"On {platform.system()} {platform.machine()}, {os.cpu_count()} cores, {options.side_by_side} sequences side by side"
    lines = [
        f"{where}, seeds from {options.seed}, on {datetime.now(UTC):%Y-%m-%d} at {name_commit()}.",
        "In the end every daemon was let come to its end, and then what was held.",
    ]
    lines += ["", "| sequences | jobs | must be 0 | seconds, all added up |", "|---|---|---|---|"]
    for kind, title in TITLES.items():
        if there := [each for each in results if each["kind"] == kind]:
            counts, seen = add_up(each["counts"] for each in there), add_up(each["seen"] for each in there)
            zero = ", ".join(f"{name} {counts[name]}" for name in MUST_BE_ZERO)
            jobs = f"{seen['specs']} submitted, {counts['jobs done']} times done in a home, {seen['asked again']} let go on by a person"
            seconds = sum(each["seconds"] for each in there)
            lines.append(f"| {len(there)}: {title} | {jobs} | {zero} | {seconds:.0f} |")
    lines += ["", "What was done in them:", "", "| operation | times |", "|---|---|"]
    seen = add_up(each["seen"] for each in results)
    return [
        *lines,
        *(f"| {name} | {count} |" for name, count in sorted(seen.items()) if name not in ("specs", "asked again")),
    ]


def add_up(each: Iterable[dict[str, int]]) -> Counter[str]:
    """Add up counts by their names."""
    summed: Counter[str] = Counter()
    for counts in each:
        summed.update(counts)
    return summed


if __name__ == "__main__":
    main()
