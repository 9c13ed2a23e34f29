"""What can happen to a cache, done to one: writers killed, writers at once, bytes damaged, a full disk.

    PYTHONPATH=tests python -m faults.cache kills|writers|damage|full|crowd FOLDER COUNT [SEED]

prints a JSON object of counts. Every value is derived from its key, so that a wrong one is known from the cache alone.
`test_cache.py` runs a bounded share of it, `benchmarks/faults_cache.py` all of it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.reference import Reference
from prefd.cache.store import ReferenceCache
from support.programs import program, program_environment

Entries = dict[bytes, npt.NDArray[np.float32]]
Counts = dict[str, Any]

ROUNDS_PER_REFERENCE = 50  # keeps the store that is checked after every kill small


def run(fault: str, folder: Path, count: int, seed: int = 0) -> Counts:
    """The counts of one fault, from a process of its own."""
    done = subprocess.run(
        program("faults.cache", fault, folder, count, seed),
        env=program_environment(),
        stdout=subprocess.PIPE,
        check=True,
    )
    counts: Counts = json.loads(done.stdout)
    return counts


def key_of(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def value_of(key: bytes) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(np.frombuffer(key, np.uint32))
    return -rng.gamma(1.0, 1.0, rng.integers(1, 60)).astype(np.float32)


def batch(prefix: str, count: int) -> Entries:
    return {key: value_of(key) for key in (key_of(f"{prefix}/{n}") for n in range(count))}


def reference(folder: Path, name: str = "w") -> Reference:
    return ReferenceCache.open(folder).reference(ReferenceFingerprint({"weights": name}))


def wrong(store: Reference) -> int:
    """How many of the visible values are not what was put under their key."""
    keys = [row.tobytes() for row in store.all_keys()]
    stored_values = zip(keys, store.find(keys))
    return sum(value is not None and not np.array_equal(value, value_of(key)) for key, value in stored_values)


# a writer killed


def kills(folder: Path, count: int, seed: int) -> Counts:
    """SIGKILL a writer at a random moment, `count` times; after each, look at the store as the next process would."""
    rng = random.Random(seed)
    counts = {"kills": count, "acknowledged": 0, "lost": 0, "wrong": 0, "unreadable": 0, "left in staging": 0}
    reference(folder).put(batch("first", 1))
    for number in range(count):
        name = f"w{number // ROUNDS_PER_REFERENCE}"
        if number % ROUNDS_PER_REFERENCE == 0:
            so_far: dict[str, int] = {}
        acknowledged = _killed_writer(folder, name, number, rng)
        so_far |= acknowledged
        counts["acknowledged"] += sum(acknowledged.values())
        try:
            store = reference(folder, name)
            counts["lost"] += sum(len(store.missing(list(batch(p, n)))) for p, n in acknowledged.items())
            if number % ROUNDS_PER_REFERENCE == ROUNDS_PER_REFERENCE - 1 or number == count - 1:
                counts["wrong"] += wrong(store)
                counts["lost"] += len(store.missing([key for p, n in so_far.items() for key in batch(p, n)]))
            counts["unreadable"] += bool(store.damage)
        except Exception:  # noqa: BLE001 an unreadable store may raise anything
            traceback.print_exc()
            counts["unreadable"] += 1
    counts["left in staging"] = len(ReferenceCache.open(folder).sweep_staging(0))
    return counts


def _killed_writer(folder: Path, name: str, number: int, rng: random.Random) -> dict[str, int]:
    """Batch → entries, as far as the writer said that they are durable."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reading)
        try:
            store = reference(folder, name)
            for flush in range(1000):
                entries = 1 + (number + flush) % 40
                store.put(batch(f"{number}/{flush}", entries))
                os.write(writing, f"{number}/{flush} {entries}\n".encode())
        finally:
            os._exit(1)
    os.close(writing)
    time.sleep(rng.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return {prefix: int(entries) for prefix, entries in map(str.split, pipe)}


# writers at once


def writers(folder: Path, count: int, seed: int) -> Counts:
    """Four processes with `count` flushes each, an eighth of it the same keys for all; a reader that runs meanwhile."""
    reader = reference(folder)
    children = []
    for writer in range(4):
        if (child := os.fork()) == 0:
            try:
                store = reference(folder)
                for flush in range(count):
                    store.put(batch(f"{writer}/{flush}", 14) | batch(f"all/{flush}", 2))
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    failed, steps, seen = 0, 0, 0
    while children:
        done, status = os.waitpid(-1, os.WNOHANG)
        if done:
            children.remove(done)
            failed += status != 0
        reader.refresh()
        now = sum(segment.entries for segment in reader.segments)
        steps += now > seen
        seen = now
        time.sleep(0.005)
    expected = {
        key for w in (*range(4), "all") for f in range(count) for key in batch(f"{w}/{f}", 2 if w == "all" else 14)
    }
    visible = [row.tobytes() for row in reader.all_keys()]
    return {
        "writers": 4,
        "flushes": 4 * count,
        "failed writers": failed,
        "segments": len(reader.segments),
        "missing": len(reader.missing(list(expected))),
        "visible twice": len(visible) - len(set(visible)),
        "not put": len(set(visible) - expected),
        "wrong": wrong(reader),
        "disagreements": len(reader.disagreements()),
        "steps seen by a running reader": steps,
    }


# bytes damaged


def damage(folder: Path, count: int, seed: int) -> Counts:
    """Damage one file of a segment after the other: each 1 in `count` bytes flipped, and cut, zeroed, deleted, grown."""
    put = batch("all", 12)
    store = reference(folder)
    path = store.folder / str(store.put(put))
    counts = {"files": 0, "damaged": 0, "a miss with a report": 0, "undetected": 0, "wrong": 0}
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        counts["files"] += 1
        whole = file.read_bytes()
        for content in damaged(whole, count):
            if content is None:
                file.unlink()
            else:
                file.write_bytes(content)
            counts["damaged"] += 1
            counts[_outcome(folder, put)] += 1
        file.write_bytes(whole)
    assert _outcome(folder, put) == "undetected", "what is whole again is served again"
    return counts


def damaged(whole: bytes, step: int) -> Iterator[bytes | None]:
    for offset in sorted({*range(0, len(whole), step), len(whole) - 1}):
        yield whole[:offset] + bytes([whole[offset] ^ (1 << offset % 8)]) + whole[offset + 1 :]
    for size in sorted({0, 1, len(whole) // 2, len(whole) - 4, len(whole) - 1}):
        yield whole[:size]
    for size in (len(whole), len(whole) // 2, 1):
        if whole[-size:] != bytes(size):
            yield whole[:-size] + bytes(size)
    yield from (None, whole + b"\0", whole + whole)


def _outcome(folder: Path, put: Entries) -> str:
    store = reference(folder)
    values = store.find(list(put))
    if any(actual is not None and not np.array_equal(actual, value) for actual, value in zip(values, put.values())):
        return "wrong"
    missed = any(value is None for value in values)
    return "a miss with a report" if missed and store.damage else "undetected"


# a full disk


def full(folder: Path, count: int, seed: int) -> Counts:
    """A put that the disk refuses at each of up to `count` offsets of each file's writing; then one that it takes."""
    old = batch("old", 30)
    store = reference(folder)
    path = store.folder / str(store.put(old))
    sizes = sorted({each.stat().st_size for each in path.rglob("*") if each.is_file()})
    offsets = sorted(
        {offset for size in sizes for offset in (0, 1, size // 2, size - 4, size - 1, *range(0, size, 997))}
    )
    chosen = offsets[:: max(1, len(offsets) // count)]
    counts = {"refusals": 0, "not an OSError": 0, "old entries lost": 0, "left in staging": 0, "next put failed": 0}
    counts |= {"wrong": 0}
    new = batch("new", 30)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for offset, limit in enumerate(chosen):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            store.put(new)
        except OSError as error:
            counts["refusals"] += 1
            counts["not an OSError"] += error.errno != errno.EFBIG
        except Exception:  # noqa: BLE001 whatever it is, it is counted
            counts["not an OSError"] += 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        counts["left in staging"] += len(list(store.staging.iterdir()))
        counts["old entries lost"] += len(reference(folder).missing(list(old)))
        counts["next put failed"] += store.put(batch(f"next {offset}", 2)) is None
    counts["wrong"] += wrong(reference(folder))
    return {"offsets tried": len(chosen)} | counts


def crowd(folder: Path, count: int, seed: int) -> Counts:
    """Put until the file system that `folder` is on is full, and on; then make room, and put again."""
    store = reference(folder)
    counts = {"puts": 0, "refusals": 0, "not an OSError": 0, "lost": 0, "wrong": 0, "next put failed": 0}
    stored_keys: list[bytes] = []
    for number in range(count):
        entries = batch(f"{number}", 1 + number % 50)
        try:
            store.put(entries)
        except OSError as error:
            counts["refusals"] += 1
            counts["not an OSError"] += error.errno != errno.ENOSPC
        else:
            counts["puts"] += 1
            stored_keys += entries
    again = reference(folder)
    counts["lost"] = len(again.missing(stored_keys))
    counts["wrong"] = wrong(again)
    shutil.rmtree(again.segments[0].path)
    counts["next put failed"] += again.put(batch("room", 1)) is None
    return counts


FAULTS = {"crowd": crowd, "kills": kills, "writers": writers, "damage": damage, "full": full}


def main() -> None:
    logging.disable()  # damage is what is asked for here
    fault, folder, count, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(FAULTS[fault](folder, count, seed)))


if __name__ == "__main__":
    main()
