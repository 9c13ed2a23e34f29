"""Reads several datasets as one: each in its own format, a share of it taken, and their pairs put one after another.

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
from prefd.daemon.worker.data.feedback import read_feedback
from prefd.daemon.worker.data.pairs import LoadedPairs, list_row_places, load_source
from prefd.daemon.worker.data.reading import read_dataset
from prefd.daemon.worker.data.repeated import note_repeats_across
from prefd.daemon.worker.data.rows import DataError, Place
from prefd.plugins.types import Pair, RowFormat


def load_pairs(
    spec: DataSpec,
    formats: Mapping[str, RowFormat],
    commits: Mapping[str, str] | None = None,
    unpaired: bool = False,
) -> LoadedPairs:
    """Loads the pairs to train on, or single answers with a label. Raises `DataError` where one of the datasets has none."""
    return _load(spec.sources, spec, formats, commits, unpaired)


def load_held_out(
    spec: DataSpec,
    formats: Mapping[str, RowFormat],
    commits: Mapping[str, str] | None = None,
    unpaired: bool = False,
) -> LoadedPairs | None:
    """Loads all pairs, or answers, of the held-out datasets; None where the held-out pairs are a fraction of the others."""
    sources = spec.held_out_sources
    return _load(sources, spec, formats, commits, unpaired) if sources else None


def _load(
    sources: Sequence[Source],
    spec: DataSpec,
    formats: Mapping[str, RowFormat],
    commits: Mapping[str, str] | None,
    unpaired: bool,
) -> LoadedPairs:
    if spec.split_pairs and not unpaired:
        raise DataError(
            "data.split_pairs: the loss compares pairs; leave it out, or take a loss of single answers, as kto"
        )
    names, read = _name_sources(sources), read_feedback if unpaired else read_dataset
    return join_pairs(
        [
            _take_share(load_source(source, spec, formats, commits, names[source], read), source.weight)
            for source in sources
        ]
    )


def _name_sources(sources: Sequence[Source]) -> dict[Source, str]:
    """Names each dataset for its rows' places: by the end of its path, or all of it where two end alike."""
    if len(sources) == 1:
        return {sources[0]: ""}
    end_counts = Counter(PurePath(source.path).name for source in sources)
    return {source: end if end_counts[end := PurePath(source.path).name] == 1 else source.path for source in sources}


def _take_share(loaded: LoadedPairs, weight: float) -> LoadedPairs:
    """Cuts `loaded` down to a share of `weight` of its pairs, at least one, in their order."""
    if weight < 1:
        total = len(loaded.pairs)
        share = sorted(sorted(loaded.pairs, key=_rank)[: max(round(weight * total), 1)], key=lambda item: item[0])
        loaded.pairs[:] = share
        loaded.notes.append(f"{loaded.source}: weight {weight:g}: {len(share)} of its {total} pairs are used")
        loaded.left_out = total - len(share)
    return loaded


def _rank(item: tuple[int, Pair]) -> tuple[bytes, int]:
    row, pair = item
    text = json.dumps([pair.prompt, pair.chosen, pair.rejected], default=str, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), row


def join_pairs(parts: Sequence[LoadedPairs]) -> LoadedPairs:
    """Joins parts one after another, with rows numbered through; the notes give each part's own numbers."""
    if len(parts) == 1:
        return parts[0]
    places: list[Place] = [place for part in parts for place in part.places]
    notes = [line for part in parts for line in _lines(part)]
    formats = ", ".join(dict.fromkeys(part.format for part in parts))
    joined_pairs = LoadedPairs(", ".join(dict.fromkeys(part.source for part in parts)), places, notes, formats)
    joined_pairs.columns = list(dict.fromkeys(column for part in parts for column in part.columns))
    joined_pairs.unread = list(
        dict.fromkeys(column for part in parts for column in _unread(part, joined_pairs.columns))
    )
    rows_before = 0
    pairs_of_each = []
    for part in parts:
        pairs_of_each.append([(rows_before + row, pair) for row, pair in part.pairs])
        joined_pairs.pairs += pairs_of_each[-1]
        joined_pairs.left_out += part.left_out
        for reason, rows in part.unusable.rows.items():
            for row in rows:
                joined_pairs.unusable.add(reason, rows_before + row)
        rows_before += part.rows
    joined_pairs.notes += note_repeats_across(pairs_of_each, partial(list_row_places, places))
    return joined_pairs


def _lines(part: LoadedPairs) -> list[str]:
    rows = "1 row" if part.rows == 1 else f"{part.rows} rows"
    return [f"{part.source}: {rows} in format {part.format}", *part.notes]


def _unread(part: LoadedPairs, columns: Sequence[str]) -> list[str]:
    """Lists the columns of `part` that no pair is made of, with its source where other parts' pairs are made of them."""
    return [f"{column} (of {part.source})" if column in columns else column for column in part.unread]
