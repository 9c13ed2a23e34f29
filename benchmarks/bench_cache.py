"""The reference cache against a raw numpy memory map of the same values, in the same run.

    python benchmarks/bench_cache.py [--entries 20000 200000 2000000] [--repeats 5] [--markdown cache.md] [--folder DIR]

Completions of lognormal length, mean 250 tokens. Each repeat is a fresh process on a warm page cache, in which cache
and raw map take turns; every number is the median over the repeats. The raw map is one float32 file whose rows are
known, and it checks nothing; slicing an `np.memmap` is itself slow, so the same through `view(np.ndarray)` is there too.
Opening includes the first lookup. A put is also held against its own files with no work but writing and flushing them.
2,000,000 entries need 4 GB of disk, and as much memory to stay in the page cache.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.reference import Reference
from prefd.cache.segments.durable import flush, flush_tree
from prefd.cache.store import ReferenceCache

MEAN_TOKENS, SIGMA = 250, 0.8
PUT_ENTRIES = 4096  # what a job commits at once
MAX_SEGMENTS = 50  # above PUT_ENTRIES × MAX_SEGMENTS entries the store is built as if it had been compacted
BLOCK = 2**20  # values summed at a time in a scan
FINGERPRINT = ReferenceFingerprint({"weights": "benchmark"})
Numbers = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, nargs="+", default=[20_000, 200_000, 2_000_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the caches are made (default: the temporary folder)")
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child)))
        return
    results = {}
    for entries in options.entries:
        with tempfile.TemporaryDirectory(prefix="prefd-bench-", dir=options.folder) as folder:
            print(f"{entries} entries: building", file=sys.stderr)
            built = build(Path(folder), entries)
            print(f"{entries} entries: measuring", file=sys.stderr)
            runs = [child(Path(folder)) for _ in range(options.repeats + 1)][1:]  # the first one fills the page cache
            results[entries] = built | {name: median(run[name] for run in runs) for name in runs[0]}
    lines = report(results, options.repeats)
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


# the store, and the raw file beside it


def generate(rng: np.random.Generator, count: int) -> dict[bytes, npt.NDArray[np.float32]]:
    mu = np.log(MEAN_TOKENS) - SIGMA**2 / 2
    ends = np.cumsum(np.clip(rng.lognormal(mu, SIGMA, count).round(), 1, 8192).astype(int))
    flat = -rng.standard_exponential(ends[-1], dtype=np.float32)
    keys = rng.bytes(32 * count)
    return {keys[32 * n : 32 * n + 32]: value for n, value in enumerate(np.split(flat, ends[:-1]))}


def build(folder: Path, entries: int) -> Numbers:
    rng = np.random.default_rng(entries)
    reference = ReferenceCache.open(folder / "cache").reference(FINGERPRINT)
    portion = max(PUT_ENTRIES, -(-entries // MAX_SEGMENTS))
    keys: list[bytes] = []
    lengths: list[int] = []
    with (folder / "raw").open("wb") as raw:
        for begin in range(0, entries, portion):
            values = generate(rng, min(portion, entries - begin))
            reference.put(values)
            raw.write(np.concatenate(list(values.values())).tobytes())
            keys += values
            lengths += map(len, values.values())
    np.save(folder / "keys.npy", np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32))
    np.save(folder / "offsets.npy", np.cumsum([0, *lengths]))
    stored = sum(each.stat().st_size for each in reference.folder.rglob("*") if each.is_file())
    return {"segments": len(reference.segments), "bytes": stored / (folder / "raw").stat().st_size}


def child(folder: Path) -> Numbers:
    done = subprocess.run([sys.executable, __file__, "--child", str(folder)], stdout=subprocess.PIPE, check=True)
    numbers: Numbers = json.loads(done.stdout)
    return numbers


# what one process measures


def measure(folder: Path) -> Numbers:
    keys = np.load(folder / "keys.npy", mmap_mode="r")
    offsets = np.load(folder / "offsets.npy")
    rng = np.random.default_rng(os.getpid())
    cache = ReferenceCache.open(folder / "cache")
    memory = psutil.Process().memory_info
    gc.collect()
    before = memory().rss
    seconds, reference = timed(lambda: opened(cache, keys[0].tobytes()))
    numbers = {"open s": seconds, "open MB": (memory().rss - before) / 1e6}
    raw = np.memmap(folder / "raw", dtype=np.float32, mode="r")
    numbers |= absent(reference, rng)
    numbers |= random_reads(reference, raw, keys, offsets, rng)
    numbers |= scans(reference, raw, offsets)
    return numbers | puts(folder, rng)


def opened(cache: ReferenceCache, key: bytes) -> Reference:
    """Ready: what the index makes at its first lookup is made."""
    reference = cache.reference(FINGERPRINT)
    reference.get([key])
    return reference


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def absent(reference: Reference, rng: np.random.Generator) -> Numbers:
    wanted = [[rng.bytes(32) for _ in range(64)] for _ in range(30)]
    times = [timed(lambda keys=keys: reference.missing(keys)) for keys in wanted]  # type: ignore[misc]
    assert all(len(missing) == 64 for _, missing in times)
    return {"64 missing ms": median(seconds for seconds, _ in times) * 1e3}


def random_reads(
    reference: Reference,
    raw: npt.NDArray[np.float32],
    keys: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> Numbers:
    """32 random entries, copied out of the map in both cases. Each measurement has rows of its own: no page twice."""
    cached, mapped, unwrapped = [], [], []
    plain = raw.view(np.ndarray)
    for _ in range(60):
        rows = rng.integers(0, len(keys), (3, 32))
        wanted = [keys[row].tobytes() for row in rows[0]]
        cached.append(timed(lambda wanted=wanted: [value.copy() for value in reference.get(wanted)])[0])  # type: ignore[misc]
        places = [(int(offsets[row]), int(offsets[row + 1])) for row in rows[1]]
        mapped.append(timed(lambda places=places: [np.array(raw[begin:end]) for begin, end in places])[0])  # type: ignore[misc]
        places = [(int(offsets[row]), int(offsets[row + 1])) for row in rows[2]]
        unwrapped.append(timed(lambda places=places: [np.array(plain[begin:end]) for begin, end in places])[0])  # type: ignore[misc]
    times = {"32 random ms": cached, "32 random raw ms": mapped, "32 random plain ms": unwrapped}
    return {name: median(seconds) * 1e3 for name, seconds in times.items()}


def scans(reference: Reference, raw: npt.NDArray[np.float32], offsets: npt.NDArray[np.int64]) -> Numbers:
    """Every value summed: entry by entry, as an epoch reads them, and as if the store were one array."""
    places = list(pairwise(offsets.tolist()))
    plain = raw.view(np.ndarray)
    turns: list[tuple[str, Callable[[], float]]] = [
        ("scan s", lambda: sum(float(value.sum()) for segment in reference.scan() for value in segment.values())),
        ("scan raw s", lambda: sum(float(raw[begin:end].sum()) for begin, end in places)),
        ("scan plain s", lambda: sum(float(plain[begin:end].sum()) for begin, end in places)),
        ("flat s", lambda: sum(total(segment.logprobs) for segment in reference.scan())),
        ("flat raw s", lambda: total(raw)),
    ]
    if os.getpid() % 2:
        turns.reverse()
    results = {name: timed(scan) for name, scan in turns}
    sums = [result for _, result in results.values()]
    assert np.allclose(sums, sums[0], rtol=1e-4)
    return {name: seconds for name, (seconds, _) in results.items()}


def total(values: npt.NDArray[np.float32]) -> float:
    return sum(float(values[start : start + BLOCK].sum(dtype=np.float64)) for start in range(0, len(values), BLOCK))


def puts(folder: Path, rng: np.random.Generator) -> Numbers:
    """Into a reference of its own beside the other: what is measured is the put, and the store stays as it was."""
    other = ReferenceCache.open(folder / "cache").reference(ReferenceFingerprint({"weights": f"{os.getpid()}"}))
    other.put(generate(rng, 1))
    stored, bare, plain = [], [], []
    for index in range(8):
        entries = generate(rng, PUT_ENTRIES)
        seconds, name = timed(lambda entries=entries: other.put(entries))  # type: ignore[misc]
        stored.append(seconds)
        segment = other.folder / name
        files = {each.relative_to(segment): each.read_bytes() for each in segment.rglob("*") if each.is_file()}
        folder_of_files = folder / f"bare{index}"
        bare.append(timed(lambda files=files, folder_of_files=folder_of_files: write_files(folder_of_files, files))[0])  # type: ignore[misc]
        content = b"".join(files.values())
        plain.append(timed(lambda index=index, content=content: write_plainly(folder / f"plain{index}", content))[0])  # type: ignore[misc]
        shutil.rmtree(folder_of_files)
        (folder / f"plain{index}").unlink()
    return {"put ms": median(stored) * 1e3, "put bare ms": median(bare) * 1e3, "put raw ms": median(plain) * 1e3}


def write_files(target: Path, files: dict[Path, bytes]) -> None:
    """What a put leaves on the disk, as durable, with nothing to compute: no put of this layout is faster."""
    for path, content in files.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(content)
    flush_tree(target)
    flush(target.parent)


def write_plainly(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    flush(path)
    flush(path.parent)


# the table


def report(results: dict[int, Numbers], repeats: int) -> list[str]:
    """Every measure, by size; the goals are those for the largest."""
    rows: list[tuple[str, str, str, str | None, float | None]] = [
        ("open and index, s", "< 0.6", "open s", None, 0.6),
        ("memory that opening takes, MB", "< 400", "open MB", None, 400),
        ("32 random entries, verified / raw", "≤ 2.2", "32 random ms", "32 random raw ms", 2.2),
        ("the same / raw map viewed as an ndarray", "", "32 random ms", "32 random plain ms", None),
        ("full scan entry by entry, verified / raw", "≤ 1.2", "scan s", "scan raw s", 1.2),
        ("the same / raw map viewed as an ndarray", "", "scan s", "scan plain s", None),
        ("full scan as one array, verified / raw", "≤ 1.2", "flat s", "flat raw s", 1.2),
        ("bytes on disk / raw", "≤ 1.06", "bytes", None, 1.06),
        ("durable put of 4,096 entries / writing and flushing", "≤ 1.5", "put ms", "put raw ms", 1.5),
        ("the same / the same files and folders, with nothing to compute", "", "put ms", "put bare ms", None),
        ("those files and folders, with nothing to compute / raw", "", "put bare ms", "put raw ms", None),
        ("64 entries found missing, ms", "< 1", "64 missing ms", None, 1.0),
    ]
    names = [f"{entries:,} entries" for entries in results]
    segments = ", ".join(f"{result['segments']:.0f}" for result in results.values())
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    lines = [
        f"{machine}; medians of {repeats} processes; segments: {segments}",
        "",
        f"| | goal at 2 M | {' | '.join(names)} | goal met |",
        f"|---|---|{'---|' * len(names)}---|",
    ]
    for title, goal, name, raw, limit in rows:
        values = [result[name] / (result[raw] if raw else 1) for result in results.values()]
        cells = [
            f"{value:.3g} ({result[name]:.3g} / {result[raw]:.3g} {raw.split()[-1]})" if raw else f"{value:.3g}"
            for value, result in zip(values, results.values())
        ]
        met = "" if limit is None else "yes" if values[-1] <= limit else "no"
        lines.append(f"| {title} | {goal} | {' | '.join(cells)} | {met} |")
    return lines


if __name__ == "__main__":
    main()
