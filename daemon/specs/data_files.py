"""Which files are data, by name: shared by the daemon, which digests them, and the worker, which reads their rows."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePath

TEXT = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
BINARY = (".parquet", ".arrow")
COMPRESSED = (".gz", ".zst")
SUFFIXES = (*TEXT, *BINARY, *(text + packed for text in TEXT for packed in COMPRESSED))
SUPPORTED = (
    "give a .jsonl, .json, .csv, .tsv, .parquet or .arrow file (text also as .gz or .zst), a folder of them or of "
    "datasets.save_to_disk, or a Hugging Face dataset id"
)
METADATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
"""What `datasets`, the hub and LLaMA-Factory write beside data: it describes rows, and has none."""
SPLIT_NAMES = {
    "train": {"train", "training"},
    "validation": {"validation", "valid", "val", "dev", "heldout", "holdout"},
    "test": {"test", "testing", "eval", "evaluation"},
}
"""What files of a split are called, as in `datasets`."""
SHARD = re.compile(r"(?P<split>.+)-\d{5}-of-\d{5}(-[0-9a-f]{16})?")
HELD_OUT = re.compile(r"(?<=held|hold)[^a-z0-9]+(?=out)")
"""What parts `held_out` in two."""
NEUTRAL = {"data", "dataset", "file", "pairs", "part", "rows", "set", "shard", "split"}
"""Words that make no split of their own out of one: `train_data.jsonl` is of `train`, and `train_sft.jsonl` is not."""


def suffix_of(name: PurePath) -> str:
    """The suffix that says how a file is read, both parts where it is compressed: `.jsonl.gz`."""
    packed = name.suffix.lower()
    return (PurePath(name.stem).suffix.lower() + packed) if packed in COMPRESSED else packed


def stem_of(name: PurePath) -> str:
    """The file's name without that suffix."""
    return name.name[: len(name.name) - len(suffix_of(name))]


def is_data(name: PurePath) -> bool:
    """Whether a file of this name in a folder is read: not one that is hidden, or only describes the data."""
    suffix, file = suffix_of(name), name.name.lower()
    hidden = any(part.startswith((".", "_")) for part in name.parts)
    derived = suffix == ".arrow" and file.startswith("cache-")  # what `map` of datasets leaves beside the data
    return suffix in SUFFIXES and file not in METADATA and not hidden and not derived


def walk(folder: Path) -> Iterator[Path]:
    """Every data file below `folder`. Raises OSError for a folder in it that cannot be looked into."""
    for place, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        yield from (Path(place, name) for name in sorted(names) if is_data(PurePath(name)))


def _raise(error: OSError) -> None:
    raise error


def split_of(name: PurePath) -> str | None:
    """The split that a file's path in its folder tells of: `train`, `validation`, `test`, one of its own, or None.

    The innermost part of the path that tells of one decides. A shard's split has exactly the name before its number.
    """
    stem = stem_of(name)
    shard = SHARD.fullmatch(stem)
    if shard and shard["split"].lower() not in NEUTRAL:
        return _known(shard["split"]) or shard["split"]
    for part in (*(() if shard else (stem,)), *reversed(name.parts[:-1])):
        if split := _split_in(part):
            return split
    return None


def _known(word: str) -> str | None:
    return next((split for split, names in SPLIT_NAMES.items() if word.lower() in names), None)


def _split_in(part: str) -> str | None:
    """A name with a split's in it and words besides is a split of its own, unless those words say nothing."""
    words = [word for word in re.split(r"[^a-z0-9]+", HELD_OUT.sub("", part.lower())) if word and not word.isdigit()]
    splits = list(dict.fromkeys(filter(None, map(_known, words))))
    if not splits:
        return None
    others = [word for word in words if _known(word) is None and not re.fullmatch(r"v?\d+|[a-z]", word)]
    return splits[0] if len(splits) == 1 and NEUTRAL.issuperset(others) else part
