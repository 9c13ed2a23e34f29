"""Which files of a folder belong to the split that is wanted; what is not read is said, and nothing is guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePath

from prefd.daemon.datafiles import SPLIT_NAMES, SUPPORTED, split_of, stem_of, walk
from prefd.daemon.worker.rows.placed import DataError
from prefd.daemon.worker.rows.splits import name_one, quoted, tells_of_held_out

SHOWN = 5
NUMBERED = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]{16})?")
Splits = Mapping[str | None, list[PurePath]]
"""Split → files, as their names tell; None: those whose name tells of none."""


def files_of(folder: Path, splits: tuple[str, ...], key: str = "data.split") -> tuple[list[Path], list[str]]:
    """The files of the first of `splits` that `folder` has, in order of name, and in words what was left out or chosen.

    A folder whose names tell of no split is all `train`. Raises `DataError` where it is not certain which files are meant,
    naming the splits there are and the setting (`key`) that chooses one.
    """
    names: list[PurePath] = sorted(path.relative_to(folder) for path in walk(folder))
    if not names:
        found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        listed = ", ".join(found[:SHOWN]) or "nothing"
        raise DataError(f"{folder}: no file in this folder can be read (it holds {listed}); {SUPPORTED}")
    found_splits: dict[str | None, list[PurePath]] = {}
    for name in names:
        found_splits.setdefault(split_of(name), []).append(name)
    only = next(iter(found_splits)) if len(found_splits) == 1 else None
    for split in splits:
        if chosen := _of(split, found_splits, names):
            return _checked(folder, chosen), _notes(chosen, names)
    if "train" in splits and len(found_splits) == 1 and not tells_of_held_out(only or ""):
        notes = _notes(names, names) + ([f"its only split is {only!r}, and was read"] if only else [])
        return _checked(folder, names), notes
    raise _uncertain(folder, splits, found_splits, key)


def _of(split: str, found: Splits, names: list[PurePath]) -> list[PurePath]:
    """The files of exactly this split; or of the only one that its name ends, as `my_train`."""
    plain = next((known for known, words in SPLIT_NAMES.items() if split.lower() in words), split)
    if chosen := found.get(split, []) + (found.get(plain, []) if plain != split else []):
        return sorted(chosen)
    if chosen := [name for name in names if stem_of(name) == split]:
        return chosen
    ending = [label for label in found if label is not None and _ends(label, plain)]
    return found[ending[0]] if len(ending) == 1 else []


def _checked(folder: Path, chosen: list[PurePath]) -> list[Path]:
    """Raises `DataError` for a file that is there in two forms, whose rows would all be there twice."""
    first: dict[PurePath, PurePath] = {}
    for name in chosen:
        other = first.setdefault(name.with_name(stem_of(name)), name)
        if other != name:
            twice = f"{other} and {name.name} look like the same rows in two forms"
            raise DataError(
                f"{folder}: {twice}; take one of them away, or give the files to read as a list in data.path"
            )
    return [folder / name for name in chosen]


def _ends(label: str, split: str) -> bool:
    last = label.lower().replace("-", "_").replace(".", "_").replace(" ", "_").rpartition("_")[2]
    return last in SPLIT_NAMES.get(split, ())


def _notes(chosen: list[PurePath], names: list[PurePath]) -> list[str]:
    left = [name for name in names if name not in set(chosen)]
    notes = [f"{len(chosen)} of {len(names)} files read; not read: {_listed(left)}"] if left else []
    folders = list(dict.fromkeys(name.parent for name in chosen))
    if len(folders) > 1:
        notes.append(f"files of several folders are read as one: {_listed(folders)} (data.data_dir reads one of them)")
    return notes + _missing_shards(chosen)


def _missing_shards(chosen: list[PurePath]) -> list[str]:
    """What is said of files that are numbered as parts of more than there are: as of a download that did not end."""
    found: dict[tuple[PurePath, int], set[int]] = {}
    for name in chosen:
        if shard := NUMBERED.fullmatch(stem_of(name)):
            found.setdefault((name.with_name(shard["name"]), int(shard["count"])), set()).add(int(shard["number"]))
    return [
        f"{name}: {len(numbers)} of its {count} parts are here, by their names, and the others are missing"
        for (name, count), numbers in found.items()
        if len(numbers) < count
    ]


def _listed(names: list[PurePath]) -> str:
    return ", ".join(map(str, names[:SHOWN])) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _uncertain(folder: Path, splits: tuple[str, ...], found: Splits, key: str) -> DataError:
    labels = [label for label in found if label is not None]
    told = [f"{label} ({_listed(found[label])})" for label in labels[:20]]
    told += [f"files of no split ({_listed(found[None])})"] if None in found else []
    remedy = name_one(labels, splits, key)
    if None in found and key != "data.validation_split":
        remedy += f", or give the files themselves: {folder / found[None][0]}"
    return DataError(
        f"{folder}: no file of split {quoted(splits)} in this folder; it holds {', '.join(told)}; {remedy}"
    )
