"""Leaves out the pairs that the list of `data.exclude` names, by what they say or by where they stand.

A line of the list names one pair, by the digest of its texts or by its place, as `pairs.jsonl:17`; what follows a `#` is for people.
A digest finds its pair wherever the rows are moved to, and finds it no more when the pair is mended. A place is what a person
writes, and is as good as the file that it was counted in. A line that names no pair is told, and is no fault: data is cleaned,
and lists stay.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from hashlib import blake2b
from pathlib import Path

from prefd.daemon.worker.data.line_file import read_line_file
from prefd.daemon.worker.data.pairs import LoadedPairs
from prefd.daemon.worker.data.rows import DataError
from prefd.plugins.types import Pair

MOST_BYTES = 64 * 2**20
SHOWN = 3
"""Names that a message lists."""


def digest_pair(pair: Pair) -> str:
    """Returns 32 hexadecimal digits that are the same for pairs of the same prompt, sides and tools.

    Of a single answer they are of that and its label, whatever it is compared with.
    """
    other = pair.rejected if pair.desirable is None else [pair.desirable]
    text = json.dumps(
        [pair.prompt, pair.chosen, other, pair.tools, pair.chat_template_kwargs], sort_keys=True, default=str
    )
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def read_exclusions(path: Path) -> list[str]:
    """Reads the names of pairs, each once, in the order of the list. Raises `DataError` for a file that is no such list."""
    lines = read_line_file(path, "data.exclude", MOST_BYTES, "a list of pairs", "one pair's digest or place")
    names = [line.partition("#")[0].strip() for line in lines]
    if (
        fault := next((number for number, name in enumerate(names, 1) if name.startswith(("{", "["))), None)
    ) is not None:
        raise DataError(
            f"data.exclude: {path}:{fault} is JSON; write one pair's digest or place a line, as `prefd xray SPEC --export FILE` does"
        )
    return list(dict.fromkeys(filter(None, names)))


def leave_out(loaded: LoadedPairs, names: Collection[str]) -> set[str]:
    """Drops the pairs of `loaded` that `names` has, notes how many those are, and returns the names that were met.

    Raises `DataError` where no pair is left.
    """
    wanted, met = frozenset(names), set[str]()
    remaining: list[tuple[int, Pair]] = []
    for row, pair in loaded.pairs:
        here = {digest_pair(pair), str(loaded.places[row - 1])} & wanted
        met |= here
        if not here:
            remaining.append((row, pair))
    dropped = len(loaded.pairs) - len(remaining)
    if dropped and not remaining:
        raise DataError(f"data.exclude: it names every pair of {loaded.source}: nothing is left to train on")
    if dropped:
        loaded.notes.append(f"{dropped} {'pair' if dropped == 1 else 'pairs'} left out (data.exclude)")
        loaded.left_out += dropped
        loaded.pairs[:] = remaining
    return met


def describe_unmet(names: Sequence[str], met: Collection[str]) -> list[str]:
    """Says which of `names` are no pair of the data, in a line; none where all are."""
    unmet = [name for name in names if name not in met]
    if not unmet:
        return []
    listed = ", ".join(unmet[:SHOWN]) + (", …" if len(unmet) > SHOWN else "")
    what = "1 line of data.exclude names" if len(unmet) == 1 else f"{len(unmet)} lines of data.exclude name"
    return [f"{what} no pair of the data ({listed})"]
