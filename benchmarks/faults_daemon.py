"""All of the daemon's fault tests: it and its workers killed while specs arrive, at random and before each of its steps.

    python benchmarks/faults_daemon.py [--kills 500] [--burst 100] [--steps 1000] [--rivals 20] [--settings 50] [--hub 50] [--markdown faults.md]
    python benchmarks/faults_daemon.py --kept faults.jsonl --seconds 200      a slice of it; again, and it goes on

The faults themselves are tests/faults_daemon*.py. Every round is in a home and a process
of its own, four of them side by side unless you say otherwise. What was run when, and at which commit, is in the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from faults.daemon import run
from faults.daemon_machine import TROUBLES
from support.commit import name_commit
from support.random_operations import SEEN, wrong

TITLES = {
    "kills": "SIGKILL of daemon, worker or both at random moments; specs arrive in six ways, real workers on a tiny model",
    "burst": "the same during a burst of files, with stand-in workers",
    "steps": "SIGKILL of the daemon before each of its own steps",
    "rivals": "four daemons started at once on what a killed one left (lock, socket, pid)",
    "settings": "config.toml is saved half-way; stand-in workers, as in all that follows",
    "losses": "the losses cannot be listed any more",
    "unlisted": "the losses cannot be listed when the daemon starts, and a file is dropped",
    "installation": "prefd is being installed again: no worker can import what it needs",
    "interpreter": "the interpreter is gone",
    "plugin": "the plugin of the jobs' loss begins to crash",
    "hub": "the hub cannot be reached",
    "device": "the GPU fails in one job after another",
}
KILLS_IN_A_ROUND = 25
COUNTS = {"kills": 500, "burst": 100, "steps": 1000, "rivals": 20} | dict.fromkeys(TROUBLES, 50)
Round = tuple[str, int, int]
"""Fault, count, seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for fault, title in TITLES.items():
        parser.add_argument(f"--{fault}", type=int, default=COUNTS[fault], help=title)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--side-by-side", type=int, default=4, help="this many homes")
    parser.add_argument("--kept", type=Path, help="rounds done are kept here, and another call goes on after them")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no round after so many")
    parser.add_argument("--markdown", type=Path, help="write the tables here too")
    options = parser.parse_args()
    done = (
        [json.loads(line) for line in options.kept.read_text().splitlines()]
        if options.kept and options.kept.exists()
        else []
    )
    seed = done[0]["seed"] if done else options.seed
    left = [each for each in rounds(options, seed) if list(each) not in [result["round"] for result in done]]
    done += attack(left, seed, time.monotonic() + options.seconds, options.kept, options.side_by_side)
    lines = tables(done, seed)
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    missing = len(rounds(options, seed)) - len(done)
    if missing > 0:
        print(f"{missing} rounds are left: run it again with the same --kept", file=sys.stderr)
    sys.exit(any(wrong(result["counts"]) for result in done) or missing > 0)


def rounds(options: argparse.Namespace, seed: int) -> list[Round]:
    kills: list[Round] = [
        ("kills", min(KILLS_IN_A_ROUND, options.kills - first), seed + first // KILLS_IN_A_ROUND)
        for first in range(0, options.kills, KILLS_IN_A_ROUND)
    ]
    others: list[Round] = [(fault, getattr(options, fault), seed) for fault in ("burst", "steps", "rivals", *TROUBLES)]
    return [*kills, *(each for each in others if each[1])]


def attack(
    left: Iterable[Round], seed: int, deadline: float, evidence: Path | None, side_by_side: int
) -> list[dict[str, Any]]:
    """What the rounds came to, as far as there was time."""
    occasion = {"commit": name_commit(), "day": f"{datetime.now(UTC):%Y-%m-%d}", "side_by_side": side_by_side}

    def attacked(each: Round) -> dict[str, Any] | None:
        if time.monotonic() > deadline:
            return None
        fault, count, its_seed = each
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="prefd-faults-", ignore_cleanup_errors=True) as folder:
            findings = run(fault, Path(folder) / "run", count, its_seed)
        result = {"round": each, "seed": seed, "seconds": time.monotonic() - began, **occasion, **findings}
        print(f"{fault}, {count}, seed {its_seed}: {wrong(findings['counts']) or 'nothing wrong'}", file=sys.stderr)
        if evidence is not None:
            with evidence.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
        return result

    with ThreadPoolExecutor(side_by_side) as pool:
        return [result for result in pool.map(attacked, left) if result is not None]


def tables(done: list[dict[str, Any]], seed: int) -> list[str]:
    beside = "/".join(sorted({str(each["side_by_side"]) for each in done}))
    lines = [
        f"On {platform.system()} {platform.machine()}, {os.cpu_count()} cores, {beside} homes side by side, seed {seed}. Every",
        "job was then let go on to its end; an adapter's SHA-256 and its losses were compared with an unbroken twin's.",
        "",
        "| fault | seen | must be 0 | seconds, all homes added up | run |",
        "|---|---|---|---|---|",
    ]
    for fault, title in TITLES.items():
        if results := [each for each in done if each["round"][0] == fault]:
            counts = total(each["counts"] for each in results)
            seconds = sum(each["seconds"] for each in results)
            occasions = ", ".join(sorted({f"{each['day']} at {each['commit']}" for each in results}))
            lines.append(f"| {title} | {shown(counts, False)} | {shown(counts, True)} | {seconds:.0f} | {occasions} |")
    for fault, title in TITLES.items():
        if hit := total(each["seen"] for each in done if each["round"][0] == fault):
            head = "killed before" if fault == "steps" else "killed | at the time"
            lines += ["", f'What the kills of "{title.split(";")[0]}" hit:', ""]
            lines += [f"| {head} | times |", "|---" * (head.count("|") + 2) + "|"]
            lines += [f"| {what} | {number} |" for what, number in sorted(hit.items())]
    return lines


def total(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    summed: Counter[str] = Counter()
    for each in counts:
        summed.update(each)
    return dict(summed)


def shown(counts: dict[str, int], zero: bool) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if (name not in SEEN) == zero)


if __name__ == "__main__":
    main()
