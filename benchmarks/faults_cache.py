"""All of the cache's fault tests, with the counts that the project promises.

    python benchmarks/faults_cache.py [--kills 1000] [--flushes 50] [--markdown faults.md]

The faults themselves are tests/faults/cache.py; every run is in a process and a folder of its own.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from faults.cache import run

MUST_BE_ZERO = {
    "lost",
    "wrong",
    "unreadable",
    "failed writers",
    "missing",
    "visible twice",
    "not put",
    "disagreements",
    "undetected",
    "not an OSError",
    "old entries lost",
    "next put failed",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--flushes", type=int, default=50, help="of each of the 4 writers")
    parser.add_argument("--step", type=int, default=1, help="flip one byte in so many")
    parser.add_argument("--offsets", type=int, default=1000, help="at which the disk is full, at most")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--folder", type=Path, help="where the caches are made (default: the temporary folder)")
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    options = parser.parse_args()
    faults = [
        ("a writer killed with SIGKILL at random moments", "kills", options.kills),
        ("4 writers at once, an eighth of it the same keys", "writers", options.flushes),
        ("every byte of every file of a segment flipped, files cut, zeroed, deleted, grown", "damage", options.step),
        ("disk full (RLIMIT_FSIZE) at every offset class of every write", "full", options.offsets),
    ]
    lines = [f"On {platform.system()} {platform.machine()}, {os.cpu_count()} cores, seed {options.seed}.", ""]
    lines += ["| fault | seen | must be 0 | seconds |", "|---|---|---|---|"]
    failed = False
    with tempfile.TemporaryDirectory(prefix="prefd-faults-", dir=options.folder) as folder:
        for title, fault, count in faults:
            print(title, file=sys.stderr)
            began = time.monotonic()
            counts = run(fault, Path(folder) / fault, count, options.seed)
            lines.append(f"| {title} | {shown(counts, zero=False)} | {shown(counts, zero=True)} | "
                         f"{time.monotonic() - began:.0f} |")  # fmt: skip
            failed |= any(counts[name] for name in counts.keys() & MUST_BE_ZERO)
        lines.append(small_filesystem(Path(folder)))
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(failed)


def shown(counts: dict[str, Any], zero: bool) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if (name in MUST_BE_ZERO) == zero)


def small_filesystem(folder: Path) -> str:
    """The row of a really full disk: a file system of 256 KiB in memory, where the machine lets us mount one."""
    title = "disk full (ENOSPC) on a file system of 256 KiB"
    mounted = folder / "small"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "prefd-faults", str(mounted)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return f"| {title} | not possible here: mounting needs root on Linux | | |"
    try:
        counts = run("crowd", mounted / "cache", 200)
        return f"| {title} | {shown(counts, zero=False)} | {shown(counts, zero=True)} | |"
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


if __name__ == "__main__":
    main()
