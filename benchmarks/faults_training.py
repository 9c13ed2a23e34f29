"""All of training's fault tests: runs killed at random steps and while they write, and checkpoints damaged.

    python benchmarks/faults_training.py [--kills 20] [--writes 20] [--damage 20] [--markdown faults.md]

The faults themselves are tests/faults/training.py; every run is in a process and a folder of its own, on a tiny model.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from faults.training import SETTINGS, Counts, run

MUST_BE_ZERO = {
    "did not end",
    "another adapter",
    "other losses",
    "left over",
    "not said",
    "steps repeated that were over",
}
TITLES = {
    "kills": "killed by SIGKILL or SIGABRT at random steps",
    "writes": "killed with SIGKILL between the operations that write a checkpoint",
    "damage": "newest checkpoint cut, flipped or without a file",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for fault, title in TITLES.items():
        parser.add_argument(f"--{fault}", type=int, default=20, help=f"{title}: so many times for each settings")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    options = parser.parse_args()
    lines = [
        f"On {platform.system()} {platform.machine()}, {os.cpu_count()} cores, seed {options.seed}. Every run then"
    ]
    lines += ["went on to its end, and its adapter's SHA-256 and its losses were compared with an unbroken twin's.", ""]
    lines += ["| fault | training | seen | must be 0 | seconds |", "|---|---|---|---|---|"]
    failed = False
    with tempfile.TemporaryDirectory(prefix="prefd-faults-") as folder:
        for fault, title in TITLES.items():
            for settings in SETTINGS:
                print(f"{title}: {settings}", file=sys.stderr)
                began = time.monotonic()
                counts = run(fault, Path(folder) / "run", settings, getattr(options, fault), options.seed)
                seconds = time.monotonic() - began
                failed |= any(counts[name] for name in counts.keys() & MUST_BE_ZERO)
                lines.append(
                    f"| {title} | {settings} | {shown(counts, False)} | {shown(counts, True)} | {seconds:.0f} |"
                )
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(failed)


def shown(counts: Counts, zero: bool) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if (name in MUST_BE_ZERO) == zero)


if __name__ == "__main__":
    main()
