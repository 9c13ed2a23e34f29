"""Finds the files of a folder that belong to a split, says which are not read, and guesses nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePath

from prefd.daemon.specs.data_files import SPLIT_NAMES, SUPPORTED, split_of, stem_of, walk
from prefd.daemon.worker.data.rows.placed import DataError
from prefd.daemon.worker.data.rows.splits import names_held_out_split, quote_names, suggest_split

SHOWN = 5
SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]{16})?")
"""How the parts of one split are numbered on the hub."""
Splits = Mapping[str | None, list[PurePath]]
"""Split → files, as their names tell; None: those whose name tells of none."""


def find_files(folder: Path, splits: tuple[str, ...], key: str = "data.split") -> tuple[list[Path], list[str]]:
    """Finds the files of the first of `splits` that `folder` has, in order of name, with notes on what was left out.

    A folder whose names tell of no split is all `train`. Raises `DataError` where it is not certain which files are meant,
    naming the splits there are and the setting (`key`) that chooses one.
    """
    names: list[PurePath] = sorted(path.relative_to(folder) for path in walk(folder))
    if not names:
        file_names = sorted(str(path.relative_to(folder)) for path in folder.rglob("[!.]*") if path.is_file())
        listed = ", ".join(file_names[:SHOWN]) or "nothing"
        raise DataError(f"{folder}: no file in this folder can be read (it holds {listed}); {SUPPORTED}")
    files_by_split: dict[str | None, list[PurePath]] = {}
    for name in names:
        files_by_split.setdefault(split_of(name), []).append(name)
    only_split = next(iter(files_by_split)) if len(files_by_split) == 1 else None
    for split in splits:
        if chosen := _files_of_split(split, files_by_split, names):
            return _checked(folder, chosen), _notes(chosen, names)
    if "train" in splits and len(files_by_split) == 1 and not names_held_out_split(only_split or ""):
        notes = _notes(names, names) + ([f"its only split is {only_split!r}, and was read"] if only_split else [])
        return _checked(folder, names), notes
    raise _uncertain(folder, splits, files_by_split, key)


def _files_of_split(split: str, files_by_split: Splits, names: list[PurePath]) -> list[PurePath]:
    """The files of exactly this split; or of the only one that its name ends, as `my_train`."""
    plain = next((split_name for split_name, words in SPLIT_NAMES.items() if split.lower() in words), split)
    if chosen := files_by_split.get(split, []) + (files_by_split.get(plain, []) if plain != split else []):
        return sorted(chosen)
    if chosen := [name for name in names if stem_of(name) == split]:
        return chosen
    ending = [label for label in files_by_split if label is not None and _ends(label, plain)]
    return files_by_split[ending[0]] if len(ending) == 1 else []


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
    unread_names = [name for name in names if name not in set(chosen)]
    notes = [f"{len(chosen)} of {len(names)} files read; not read: {_listed(unread_names)}"] if unread_names else []
    folders = list(dict.fromkeys(name.parent for name in chosen))
    if len(folders) > 1:
        notes.append(f"files of several folders are read as one: {_listed(folders)} (data.data_dir reads one of them)")
    return notes + _missing_shards(chosen)


def _missing_shards(chosen: list[PurePath]) -> list[str]:
    """Notes on files that are numbered as parts of more than there are: as of a download that did not end."""
    numbers_by_whole: dict[tuple[PurePath, int], set[int]] = {}
    for name in chosen:
        if shard := SHARD.fullmatch(stem_of(name)):
            whole = name.with_name(shard["name"]), int(shard["count"])
            numbers_by_whole.setdefault(whole, set()).add(int(shard["number"]))
    return [
        f"{name}: {len(numbers)} of its {count} parts are here, by their names, and the others are missing"
        for (name, count), numbers in numbers_by_whole.items()
        if len(numbers) < count
    ]


def _listed(names: list[PurePath]) -> str:
    return ", ".join(map(str, names[:SHOWN])) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _uncertain(folder: Path, splits: tuple[str, ...], files_by_split: Splits, key: str) -> DataError:
    labels = [label for label in files_by_split if label is not None]
    split_descriptions = [f"{label} ({_listed(files_by_split[label])})" for label in labels[:20]]
    split_descriptions += [f"files of no split ({_listed(files_by_split[None])})"] if None in files_by_split else []
    remedy = suggest_split(labels, splits, key)
    if None in files_by_split and key != "data.validation_split":
        remedy += f", or give the files themselves: {folder / files_by_split[None][0]}"
    return DataError(
        f"{folder}: no file of split {quote_names(splits)} in this folder; it holds {', '.join(split_descriptions)}; {remedy}"
    )
