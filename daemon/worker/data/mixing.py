"""Several datasets as one: each read in its own format, a share of it taken, and their pairs put behind one another.

A weight is what it is in the alignment-handbook's mixer: the share of a dataset that is used. Which pairs that is goes by a
hash of their texts, so every job takes the same ones, and rows that are added change little of what is cached.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import PurePath

from prefd.daemon.specs.data_sources import Source
from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.pairs import LoadedPairs, listed, pairs_of
from prefd.daemon.worker.data.repeated import repeated_across
from prefd.daemon.worker.data.rows import Place
from prefd.plugins.types import Pair, RowFormat


def load_pairs(
    spec: DataSpec, formats: Mapping[str, RowFormat], commits: Mapping[str, str] | None = None
) -> LoadedPairs:
    """The pairs to train on. Raises `DataError` where one of the datasets has none."""
    return _load(spec.sources, spec, formats, commits)


def load_held_out(
    spec: DataSpec, formats: Mapping[str, RowFormat], commits: Mapping[str, str] | None = None
) -> LoadedPairs | None:
    """The held-out datasets' pairs, all of them; None where the held-out pairs are a fraction of the others."""
    sources = spec.held_out_sources
    return _load(sources, spec, formats, commits) if sources else None


def _load(
    sources: Sequence[Source], spec: DataSpec, formats: Mapping[str, RowFormat], commits: Mapping[str, str] | None
) -> LoadedPairs:
    called = _called(sources)
    return joined([_taken(pairs_of(each, spec, formats, commits, called[each]), each.weight) for each in sources])


def _called(sources: Sequence[Source]) -> dict[Source, str]:
    """What each dataset's rows are named by: the end of its path, or all of it where two end alike."""
    if len(sources) == 1:
        return {sources[0]: ""}
    ends = Counter(PurePath(source.path).name for source in sources)
    return {each: end if ends[end := PurePath(each.path).name] == 1 else each.path for each in sources}


def _taken(found: LoadedPairs, weight: float) -> LoadedPairs:
    """`found` with that share of its pairs, at least one, in their order."""
    if weight < 1:
        total = len(found.pairs)
        kept = sorted(sorted(found.pairs, key=_rank)[: max(round(weight * total), 1)], key=lambda item: item[0])
        found.pairs[:] = kept
        found.notes.append(f"{found.source}: weight {weight:g}: {len(kept)} of its {total} pairs are used")
        found.left_out = total - len(kept)
    return found


def _rank(item: tuple[int, Pair]) -> tuple[bytes, int]:
    row, pair = item
    text = json.dumps([pair.prompt, pair.chosen, pair.rejected], default=str, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), row


def joined(parts: Sequence[LoadedPairs]) -> LoadedPairs:
    """One after another, with rows numbered through; each part's numbers are told in the notes."""
    if len(parts) == 1:
        return parts[0]
    places: list[Place] = [place for part in parts for place in part.places]
    notes = [line for part in parts for line in _lines(part)]
    formats = ", ".join(dict.fromkeys(part.format for part in parts))
    made = LoadedPairs(", ".join(dict.fromkeys(part.source for part in parts)), places, notes, formats)
    made.columns = list(dict.fromkeys(column for part in parts for column in part.columns))
    made.unread = list(dict.fromkeys(column for part in parts for column in _unread(part, made.columns)))
    before = 0
    pairs_of_each = []
    for part in parts:
        pairs_of_each.append([(before + row, pair) for row, pair in part.pairs])
        made.pairs += pairs_of_each[-1]
        made.left_out += part.left_out
        for reason, rows in part.unusable.rows.items():
            for row in rows:
                made.unusable.add(reason, before + row)
        before += part.rows
    made.notes += repeated_across(pairs_of_each, partial(listed, places))
    return made


def _lines(part: LoadedPairs) -> list[str]:
    rows = "1 row" if part.rows == 1 else f"{part.rows} rows"
    return [f"{part.source}: {rows} in format {part.format}", *part.notes]


def _unread(part: LoadedPairs, columns: Sequence[str]) -> list[str]:
    """Its columns that no pair is made of; with its source, those that other parts' pairs are made of."""
    return [f"{column} (of {part.source})" if column in columns else column for column in part.unread]
